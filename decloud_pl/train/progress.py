"""What a training reports, and what may end it early. Imports no torch."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from decloud_pl.errors import TrainingError, TrainingStopped


@dataclass(frozen=True)
class Progress:
    """How far a training has come.

    Attributes:
        stage: ``prepare``, ``probe``, ``fit``, ``baseline`` (after the first step), ``evaluate``, ``encode``,
            ``remedy`` or ``score``.
        step: optimizer steps so far, of ``total_steps``; 0 for a total that is not known.
        loss: of the last step.
        accuracy: 0 to 1, when it was measured, on held-out data: of the base model and of the finished update on the
            half for the verdict (or where the round's ``score_split`` says), while training on the half for choosing.
        note: a sentence for people; empty when there is nothing to say.
    """

    stage: str
    epoch: int = 0
    step: int = 0
    total_steps: int = 0
    loss: float | None = None
    accuracy: float | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Supervisor:
    """Whoever started the training: gets its progress, and decides how long it may take.

    Attributes:
        report: called in the training's thread.
        stop_requested: looked at with every batch; a checkpoint is written before the training stops.
        monotonic: the time in seconds.
        finish_at: when the update must be on disk, on the scale of ``monotonic``; None for no deadline.
    """

    report: Callable[[Progress], None] = lambda _: None
    stop_requested: Callable[[], bool] = lambda: False
    monotonic: Callable[[], float] = time.monotonic
    finish_at: float | None = None

    def until(self, finish_by: float | None, *, now: float) -> Supervisor:
        """The same with a deadline in Unix seconds, given the present ones.

        How long is left is decided here: the clock may be set while the training runs.
        """
        if finish_by is None:
            return self
        return dataclasses.replace(self, finish_at=self.monotonic() + finish_by - now)

    def note(self, stage: str, text: str) -> None:
        """Reports a sentence."""
        self.report(Progress(stage, note=text))

    def as_stage(self, stage: str) -> Supervisor:
        """The same, with everything reported as of this stage."""
        return dataclasses.replace(self, report=lambda done: self.report(dataclasses.replace(done, stage=stage)))

    def time_left(self) -> float:
        """Seconds until the deadline; infinite without one."""
        return math.inf if self.finish_at is None else self.finish_at - self.monotonic()

    def check_time(self) -> None:
        """Raises `TrainingError` when no time is left."""
        if self.time_left() <= 0:
            raise TrainingError(
                "No time is left to train before the round's deadline.", fix="Lower fit.publish_reserve_seconds."
            )

    def check_stop(self) -> None:
        """Raises `TrainingStopped` when the training was asked to stop."""
        if self.stop_requested():
            raise stopped()


def stopped() -> TrainingStopped:
    """What a training raises that was asked to stop."""
    return TrainingStopped("The training was asked to stop.", fix="Start it again to resume from its checkpoint.")
