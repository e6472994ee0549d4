"""The callbacks of a round's fit, in the order that they require."""

from __future__ import annotations

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
from decloud_pl.train.score.judge import Judge
from decloud_pl.train.score.remedies import seconds_after_the_fit
from decloud_pl.train.update.writing import UpdateWriter


class Outbox:
    """A publisher that keeps the update for the caller. Only the caller has the keys to publish it."""

    def __init__(self) -> None:
        self.update: Update | None = None

    def publish(self, update: Update) -> None:
        self.update = update


@dataclass(frozen=True)
class RoundCallbacks:
    """The callbacks that a round adds to the user's callbacks.

    ``in_order`` has all of them, including the user's. ``average`` is None if no remedy needs it.
    """

    best: BestWeights
    average: AverageWeights | None
    baseline: BaselineCallback
    writer: UpdateWriter
    outbox: Outbox
    in_order: list[Callback]

    @classmethod
    def of(cls, setup: FitSetup, network: nn.Module, judge: Judge, supervisor: Supervisor) -> RoundCallbacks:
        """Create the callbacks for the fit of a network.

        Raises:
            ConfigError: one of the user's callbacks cannot be built.
        """

        def evaluated(accuracy: float) -> None:
            supervisor.report(Progress("evaluate", accuracy=accuracy))

        def base_scored(trainer: Trainer, accuracy: float | None, seconds: float) -> None:
            supervisor.report(Progress("baseline", step=trainer.global_step, accuracy=accuracy))
            if deadline is not None:
                deadline.reserve(seconds_after_the_fit(setup.remedies, seconds))

        def stopped(trainer: Trainer) -> None:
            step, total = trainer.global_step, trainer.estimated_stepping_batches
            supervisor.note("fit", f"Stopped after {step:,} of {total:,} steps to meet the round's deadline.")

        best = BestWeights(network=network, score=judge.select, report=evaluated, by_score=setup.source is None)
        average = AverageWeights(network=network) if "average" in setup.remedies else None
        deadline: DeadlineCallback | None = None
        if supervisor.finish_at is not None:
            planned = setup.competes
            deadline = DeadlineCallback(
                supervisor.finish_at, monotonic=supervisor.monotonic, on_stop=stopped, planned=planned
            )
        baseline = BaselineCallback(judge.base_accuracy, on_scored=base_scored, monotonic=supervisor.monotonic)
        writer = judge.writer(setup.config.update, score=best.score, note=lambda text: supervisor.note("encode", text))
        outbox = Outbox()
        delta = DeltaCallback(
            setup.state,
            outbox,
            path=setup.round.folder / UPDATE_FILE,
            network_of=lambda _: network,
            writer=writer,
            weights_of=best.weights,
            stopped_early=lambda: deadline is not None and deadline.stopped,
        )
        callbacks = [
            best,  # first, because a later callback may swap the weights back after a validation
            *make_callbacks(setup.plan),
            ProgressCallback(supervisor.report),
            average,
            deadline,
            baseline,
            setup.checkpoints(setup.round.folder / CHECKPOINT_FILE, supervisor),  # after the callbacks that it saves
            delta,
        ]
        return cls(best, average, baseline, writer, outbox, [one for one in callbacks if one is not None])

    def averaged(self, network: nn.Module) -> Mapping[str, torch.Tensor] | None:
        """Return the average over the fit's last part, or None if there is no average."""
        return None if self.average is None or not self.average.count else self.average.weights(network)
