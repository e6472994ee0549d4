"""The callbacks of a round's fit, in the order that they need."""

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
    """A publisher that keeps the update for the caller, who holds the keys."""

    def __init__(self) -> None:
        self.update: Update | None = None

    def publish(self, update: Update) -> None:
        self.update = update


@dataclass(frozen=True)
class RoundCallbacks:
    """What a round adds to the user's callbacks.

    Attributes:
        best: keeps the weights of the best validation.
        average: averages the fit's last weights; None where nothing needs that.
        baseline: scores the base model after the first step.
        writer: of update files.
        outbox: gets the update.
        in_order: all, the user's among them.
    """

    best: BestWeights
    average: AverageWeights | None
    baseline: BaselineCallback
    writer: UpdateWriter
    outbox: Outbox
    in_order: list[Callback]

    @classmethod
    def of(cls, setup: FitSetup, network: nn.Module, judge: Judge, supervisor: Supervisor) -> RoundCallbacks:
        """The callbacks of a fit of a network.

        Raises:
            ConfigError: a callback of the user's cannot be built.
        """
        reports = _Reports(setup, supervisor)
        best = BestWeights(network=network, score=judge.select, report=reports.evaluated, by_score=setup.source is None)
        average = AverageWeights(network=network) if "average" in setup.remedies else None
        if supervisor.finish_at is not None:
            reports.deadline = DeadlineCallback(
                supervisor.finish_at, monotonic=supervisor.monotonic, on_stop=reports.stopped_early
            )
        baseline = BaselineCallback(judge.base_accuracy, on_scored=reports.base_scored, monotonic=supervisor.monotonic)
        writer = judge.writer(setup.config.update, score=best.score, note=reports.encoded)
        outbox = Outbox()
        delta = DeltaCallback(
            setup.state,
            outbox,
            path=setup.round.folder / UPDATE_FILE,
            network_of=lambda _: network,
            writer=writer,
            weights_of=best.weights,
            stopped_early=reports.was_stopped_early,
        )
        callbacks = [
            best,  # first: it must see the weights of a validation before another callback takes them away again
            *make_callbacks(setup.plan),
            ProgressCallback(supervisor.report),
            average,
            reports.deadline,
            baseline,
            setup.checkpoints(setup.round.folder / CHECKPOINT_FILE, supervisor),  # after those whose state it keeps
            delta,
        ]
        return cls(best, average, baseline, writer, outbox, [one for one in callbacks if one is not None])

    def averaged(self, network: nn.Module) -> Mapping[str, torch.Tensor] | None:
        """The average over the fit's last part; None where there is none."""
        return None if self.average is None or not self.average.count else self.average.weights(network)


class _Reports:
    """What the callbacks report."""

    def __init__(self, setup: FitSetup, supervisor: Supervisor) -> None:
        self._remedies = setup.remedies
        self._supervisor = supervisor
        self.deadline: DeadlineCallback | None = None

    def evaluated(self, accuracy: float) -> None:
        self._supervisor.report(Progress("evaluate", accuracy=accuracy))

    def encoded(self, note: str) -> None:
        self._supervisor.note("encode", note)

    def base_scored(self, trainer: Trainer, accuracy: float | None, seconds: float) -> None:
        self._supervisor.report(Progress("baseline", step=trainer.global_step, accuracy=accuracy))
        if self.deadline is not None:
            self.deadline.reserve(seconds_after_the_fit(self._remedies, seconds))

    def stopped_early(self, trainer: Trainer) -> None:
        step, total = trainer.global_step, trainer.estimated_stepping_batches
        self._supervisor.note("fit", f"Stopped after {step:,} of {total:,} steps, in time for the round's deadline.")

    def was_stopped_early(self) -> bool:
        return self.deadline is not None and self.deadline.stopped
