"""The callbacks of a round's fit, in their required order."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from lightning.pytorch import Callback, Trainer
from torch import nn

from decloud_pl.domain import Update
from decloud_pl.train.callbacks.average import AverageWeights
from decloud_pl.train.callbacks.best import BestWeights
from decloud_pl.train.callbacks.delta import DeltaCallback, ProgressCallback
from decloud_pl.train.fit.baseline import BaselineCallback
from decloud_pl.train.fit.deadline import DeadlineCallback
from decloud_pl.train.fit.setup import FitSetup
from decloud_pl.train.fit.trainer import make_callbacks
from decloud_pl.train.plan import CHECKPOINT_FILE, UPDATE_FILE
from decloud_pl.train.progress import Progress, Supervisor
from decloud_pl.train.score.choice import SOUP_CHECKPOINTS, Choice, seconds_after_the_fit
from decloud_pl.train.score.judge import Judge
from decloud_pl.train.update.writing import UpdateWriter


class Outbox:
    """A publisher that only stores the update in ``update``. The training process has no keys to publish it."""

    def __init__(self) -> None:
        self.update: Update | None = None

    def publish(self, update: Update) -> None:
        self.update = update


@dataclass(frozen=True)
class RoundCallbacks:
    """The callbacks that a round adds to the user's callbacks.

    ``in_order`` lists all callbacks of the fit, including the user's, in the order of their calls.
    """

    choice: Choice
    baseline: BaselineCallback
    deadline: DeadlineCallback | None
    writer: UpdateWriter
    outbox: Outbox
    in_order: list[Callback]

    @classmethod
    def of(cls, setup: FitSetup, network: nn.Module, judge: Judge, supervisor: Supervisor) -> RoundCallbacks:
        """Create the callbacks for training a neural network in a round.

        Raises:
            ConfigError: one of the user's callbacks cannot be built.
        """

        def evaluated(accuracy: float) -> None:
            supervisor.report(Progress("evaluate", accuracy=accuracy))

        def base_scored(trainer: Trainer, accuracy: float | None, seconds: float) -> None:
            supervisor.report(Progress("baseline", step=trainer.global_step, accuracy=accuracy))
            if deadline is not None:
                deadline.reserve(seconds_after_the_fit(names, seconds, supervisor.time_left()))

        def encoded(state: Mapping[str, torch.Tensor]) -> float | None:
            accuracy = judge.select(state)
            supervisor.report(Progress("encode"))  # a training without reports counts as hung
            return accuracy

        def stopped(trainer: Trainer) -> None:
            step, total = trainer.global_step, trainer.estimated_stepping_batches
            supervisor.note("fit", f"Stopped after {step:,} of {total:,} steps to meet the round's deadline.")

        names = setup.candidates
        keep = SOUP_CHECKPOINTS if "soup" in names else 1
        by_score = setup.source is None
        best = BestWeights(network=network, score=judge.select, report=evaluated, by_score=by_score, keep=keep)
        deadline: DeadlineCallback | None = None
        if supervisor.finish_at is not None:
            deadline = DeadlineCallback(
                supervisor.finish_at,
                monotonic=supervisor.monotonic,
                on_stop=stopped,
                planned_seconds=setup.planned_seconds,
            )
        passed = None if deadline is None else deadline.share
        average = AverageWeights(network=network, passed=passed) if {"ema", "average"} & set(names) else None
        baseline = BaselineCallback(
            judge.base_accuracy, on_scored=base_scored, load=judge.load, monotonic=supervisor.monotonic
        )
        choice = Choice(setup.state, names, best, average, judge.select, supervisor, lambda: baseline.seconds)
        writer = judge.writer(setup.config.update, note=lambda text: supervisor.note("encode", text))
        writer = dataclasses.replace(writer, score=encoded)
        outbox = Outbox()
        delta = DeltaCallback(
            setup.state,
            outbox,
            path=setup.round.folder / UPDATE_FILE,
            network_of=lambda _: network,
            writer=writer,
            weights_of=choice,
            stopped_early=lambda: deadline is not None and deadline.stopped,
        )
        callbacks = [
            best,  # first, because a later callback may swap the weights back after a validation
            *make_callbacks(setup.plan),
            ProgressCallback(supervisor.report, passed, monotonic=supervisor.monotonic),
            average,
            deadline,
            baseline,
            setup.checkpoints(setup.round.folder / CHECKPOINT_FILE, supervisor),  # after the callbacks that it saves
            delta,
        ]
        return cls(choice, baseline, deadline, writer, outbox, [one for one in callbacks if one is not None])
