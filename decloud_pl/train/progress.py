"""Progress reports of a training, and the conditions that end it early. This module does not import torch."""

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
    """The progress of a training.

    Attributes:
        stage: ``prepare``, ``probe``, ``fit``, ``baseline`` (after the first step), ``evaluate``, ``choose``,
            ``encode``, ``score`` or ``last fit``.
        step: number of optimizer steps so far.
        total_steps: number of optimizer steps of the fit; 0 if it is unknown.
        loss: loss of the last step.
        accuracy: a measured accuracy, 0 to 1, or None. The stage determines which weights are scored on which samples:

            - ``baseline``: the base model, on the half ``judge`` of the held-out part (see `HeldOut`).
            - ``score``: the finished update, on the half ``judge``, or on the test split if the plan's ``score_split``
              is ``test``.
            - All other stages: the half ``select`` of the held-out part.
        note: a sentence for people; may be empty.
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
    """The caller of a training. It receives the progress and decides how long the training may take.

    Attributes:
        report: called with each progress, in the training's thread.
        stop_requested: returns whether the training must stop. The training checks it at every batch, and writes a
            checkpoint before it stops.
        monotonic: returns the time in seconds.
        finish_at: when the update must be on disk, on the scale of ``monotonic``; None for no deadline.
    """

    report: Callable[[Progress], None] = lambda _: None
    stop_requested: Callable[[], bool] = lambda: False
    monotonic: Callable[[], float] = time.monotonic
    finish_at: float | None = None

    def until(self, finish_by: float | None, *, now: float) -> Supervisor:
        """Return a copy of this supervisor with a deadline.

        This method converts the deadline to the scale of ``monotonic``. So the deadline stays correct if the system
        clock is changed during the training.

        Args:
            finish_by: the deadline in Unix seconds. If None, this supervisor itself is returned.
            now: the current time in Unix seconds.
        """
        if finish_by is None:
            return self
        return dataclasses.replace(self, finish_at=self.monotonic() + finish_by - now)

    def note(self, stage: str, text: str) -> None:
        """Report a sentence."""
        self.report(Progress(stage, note=text))

    def as_stage(self, stage: str) -> Supervisor:
        """Return a copy of this supervisor that reports every progress under the stage ``stage``."""
        return dataclasses.replace(self, report=lambda done: self.report(dataclasses.replace(done, stage=stage)))

    def time_left(self) -> float:
        """Return the seconds until the deadline; infinite without a deadline."""
        return math.inf if self.finish_at is None else self.finish_at - self.monotonic()

    def check_time(self) -> None:
        """Raise `TrainingError` if no time is left."""
        if self.time_left() <= 0:
            raise TrainingError(
                "No time is left to train before the round's deadline.", fix="Lower fit.publish_reserve_seconds."
            )

    def check_stop(self) -> None:
        """Raise `TrainingStopped` if a stop was requested."""
        if self.stop_requested():
            raise stopped()


def stopped() -> TrainingStopped:
    """Return the exception for a requested stop."""
    return TrainingStopped("The training was stopped.", fix="Start it again to resume from its checkpoint.")
