"""End a fit in time for its deadline, and measure which share of the fit's time has passed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from decloud_pl.train.fit.processes import agree, batches_ahead

_FORGET = 0.95
_KEY = "decloud_pl.share"


class DeadlineCallback(Callback):
    """End the fit after the last batch that can end before a deadline. The fit then ends like a complete fit.

    A learning rate schedule can follow `share`, which reaches 1 at the deadline.

    Args:
        stop_at: the deadline, in seconds on the scale of ``monotonic``.
        monotonic: returns the time in seconds.
        on_stop: called when the deadline ends a fit before its last step that was planned by its number of steps.
        planned_seconds: the seconds that the fit was planned to last, in one run or in several. It ends at the deadline
            or after this time, whichever is earlier. None if the fit was planned by its number of steps.
    """

    def __init__(
        self,
        stop_at: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        on_stop: Callable[[Trainer], None] | None = None,
        planned_seconds: float | None = None,
    ) -> None:
        self._stop_at = stop_at
        self._monotonic = monotonic
        self._on_stop = on_stop
        self._planned_seconds = planned_seconds
        self._planned_end = math.inf
        self._last = 0.0
        self._slowest = 0.0
        self._begun: float | None = None
        self._share = self._resumed = 0.0
        self.stopped = False

    def share(self) -> float:
        """Return the share of the fit's time that has passed, from 0 to 1. The share never falls.

        After a resume, the share continues from its value in the checkpoint.
        """
        if self._begun is not None:
            whole, passed = self._end() - self._begun, self._monotonic() - self._begun
            of_this_run = min(1.0, passed / whole) if whole > 0 else 1.0
            self._share = max(self._share, self._resumed + (1 - self._resumed) * of_this_run)
        return self._share

    def planned_seconds_left(self) -> float | None:
        """Return how many of the planned seconds are left; None if the fit was planned by its number of steps."""
        if self._planned_seconds is None:
            return None
        if self._begun is None:  # the checkpoint of a complete fit
            return (1 - self._resumed) * self._planned_seconds
        return max(0.0, self._planned_end - self._monotonic())

    def reserve(self, seconds: float) -> None:
        """Make the deadline ``seconds`` earlier. The planned time stays the same.

        The time between the end of the previous step and this call does not count as part of the next step.
        """
        self._stop_at -= seconds
        self._last = self._monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last = self._begun = self._monotonic()
        if self._planned_seconds is not None:
            self._planned_end = self._begun + (1 - self._resumed) * self._planned_seconds
        # A resumed fit already has an update to submit.
        if trainer.global_step and agree(trainer, self._last >= self._end()):
            self._stop(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        now = self._monotonic()
        self._slowest = max(now - self._last, self._slowest * _FORGET)
        self._last = now
        ahead = batches_ahead(trainer, batch_idx)
        if ahead and agree(trainer, now + ahead * self._slowest > self._end()):
            self._stop(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last = self._monotonic()  # the duration of a step does not include validation

    # Not as the callback's own state: Lightning would warn if a fit without a deadline resumes from the checkpoint.
    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[_KEY] = self.share()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._share = self._resumed = float(checkpoint.get(_KEY, 0.0))

    def _end(self) -> float:
        return min(self._stop_at, self._planned_end)

    def _stop(self, trainer: Trainer) -> None:
        trainer.should_stop = True
        # Ignore the user's minimum epochs and steps here: a late update earns nothing.
        trainer.fit_loop.min_epochs = 0
        trainer.fit_loop.epoch_loop.min_steps = None
        total = trainer.estimated_stepping_batches
        if not self.stopped and self._planned_seconds is None and trainer.global_step < total:
            self.stopped = True
            if self._on_stop is not None:
                self._on_stop(trainer)
