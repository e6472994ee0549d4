"""Score the base model during the training, but only after the first step, in order not to delay that step."""

from __future__ import annotations

import time
from collections.abc import Callable

from lightning.pytorch import Callback, LightningModule, Trainer


class BaselineCallback(Callback):
    """Score the base model once, on rank zero: after the first step, or at the end of a fit without steps.

    In the trainer's list of callbacks, put this callback after those that measure the duration of steps. The attribute
    ``seconds`` is the duration of the scoring; it is 0 before the scoring.

    Args:
        score: returns the base model's accuracy (0 to 1) or None. It must leave the trained network unchanged.
        on_scored: called with the trainer, the accuracy and the duration of the scoring in seconds.
        load: reads the samples before the scoring. Its duration does not count.
        monotonic: returns the time in seconds.
    """

    def __init__(
        self,
        score: Callable[[], float | None],
        *,
        on_scored: Callable[[Trainer, float | None, float], None],
        load: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._score = score
        self._on_scored = on_scored
        self._load = load
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
        self._load()
        begun = self._monotonic()
        accuracy = self._score()
        self.seconds = self._monotonic() - begun
        self._on_scored(trainer, accuracy, self.seconds)
