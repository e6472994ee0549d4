"""What the base model scores before anything is trained: measured behind the first step, so that it holds up none."""

from __future__ import annotations

import time
from collections.abc import Callable

from lightning.pytorch import Callback, LightningModule, Trainer


class BaselineCallback(Callback):
    """Scores the base model once, on rank zero: after the first step, or at the fit's end when there was no step.

    Put it behind the callbacks that measure how long steps take.

    Args:
        score: the base model's accuracy, 0 to 1, or None; it must leave the trained network as it is.
        on_scored: called with the accuracy and the seconds that it took, which are ``seconds`` from then on.
        monotonic: the time in seconds.
    """

    def __init__(
        self,
        score: Callable[[], float | None],
        *,
        on_scored: Callable[[Trainer, float | None, float], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._score = score
        self._on_scored = on_scored
        self._monotonic = monotonic
        self._is_scored = False
        self.seconds = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        self._once(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._once(trainer)

    def _once(self, trainer: Trainer) -> None:
        if self._is_scored or not trainer.is_global_zero:
            return
        self._is_scored = True
        begun = self._monotonic()
        accuracy = self._score()
        self.seconds = self._monotonic() - begun
        self._on_scored(trainer, accuracy, self.seconds)
