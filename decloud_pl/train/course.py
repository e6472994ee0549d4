"""Short trainings for the probe: what the round's fit would do in its first batches, with other learning rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from decloud_pl.build import build
from decloud_pl.train.checkpoint import CheckpointCallback
from decloud_pl.train.datamodule import RoundDataModule
from decloud_pl.train.halving import OutOfTime, Reached
from decloud_pl.train.module import RoundModule
from decloud_pl.train.optimizers import optimizer_factory

_LOOK_EVERY = 10
"""Batches between two looks at the loss, each of which waits for a GPU."""


class LightningCourses:
    """Courses on one device, each continued from its own checkpoint.

    Rates are constant: the first batches of a schedule say little about the rest of it.

    Args:
        network: to train in; its weights are overwritten.
        base: the weights that every course begins with.
        num_classes: of the data set.
        optimizer: a partial node; ``lr`` is replaced.
        trainer: a node of Lightning's ``Trainer``, as the round's fit uses it.
        data: of the round.
        score: accuracy of a network on held-out data, 0 to 1.
        folder: for checkpoints.
        seed: of the round.
        end: the latest moment, on the scale of ``monotonic``.
        restore_random: makes the random numbers those that the round's fit begins with.
        stop_requested: whether the training was asked to stop.
        monotonic: the time in seconds.
    """

    def __init__(
        self,
        network: nn.Module,
        base: Mapping[str, torch.Tensor],
        *,
        num_classes: int,
        optimizer: Mapping[str, Any],
        trainer: Mapping[str, Any],
        data: RoundDataModule,
        score: Callable[[nn.Module], float],
        folder: Path,
        seed: int,
        end: float,
        restore_random: Callable[[], None],
        stop_requested: Callable[[], bool],
        monotonic: Callable[[], float],
    ) -> None:
        self._network = network
        self._base = base
        self._classes = num_classes
        self._optimizer = optimizer
        self._trainer = trainer
        self._data = data
        self._score = score
        self._folder = folder
        self._seed = seed
        self._end = end
        self._stop_requested = stop_requested
        self._monotonic = monotonic
        self._restore_random = restore_random

    def go_on(self, rate: float, batches: int) -> Reached:
        """See `decloud_pl.train.halving.Courses`.

        Raises:
            TrainingStopped: the training was asked to stop.
            ConfigError: the optimizer refuses its arguments.
        """
        path = self._folder / f"{rate!r}.ckpt"
        begins = not path.exists()
        if begins:
            self._network.load_state_dict(dict(self._base))
            self._restore_random()
        module = RoundModule(
            self._network,
            num_classes=self._classes,
            optimizer=optimizer_factory({**self._optimizer, "lr": rate}),
        )
        halt = _Halt(batches, lambda: self._score(self._network), end=self._end, monotonic=self._monotonic)
        checkpoint = CheckpointCallback(
            path,
            fingerprint="",
            every_seconds=0,
            seed=self._seed,
            stop_requested=self._stop_requested,
            monotonic=self._monotonic,
        )
        # One device is enough: a batch is the same, however many processes share it.
        node = {
            **self._trainer,
            "callbacks": [halt, checkpoint],
            "devices": one_of(self._trainer.get("devices")),
            "num_nodes": 1,
            "strategy": "auto",
            "max_epochs": -1,
            "logger": False,
        }
        trainer: Trainer = build(node)
        trainer.fit(module, datamodule=self._data.again(), ckpt_path=None if begins else path)
        return Reached(halt.accuracy, halt.training_seconds)


def one_of(devices: object) -> object:
    """The first of a trainer's devices."""
    return devices[:1] if isinstance(devices, list) else 1


class _Halt(Callback):
    """Ends a fit after so many batches, or where it diverges, and scores it there; breaks it off when time is over."""

    def __init__(self, batches: int, score: Callable[[], float], *, end: float, monotonic: Callable[[], float]) -> None:
        self._batches = batches
        self._score = score
        self._end = end
        self._monotonic = monotonic
        self._begun = 0.0
        self.accuracy: float | None = None
        self.training_seconds = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self._begun = self._monotonic()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,  # noqa: ARG002
        batch: object,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        step = trainer.global_step
        over = step >= self._batches
        if (over or step % _LOOK_EVERY == 0) and not _is_finite(pl_module):
            trainer.should_stop = True
            return
        now = self._monotonic()
        if over:
            self.training_seconds = now - self._begun
            self.accuracy = self._score()
            trainer.should_stop = True
        elif now >= self._end:
            raise OutOfTime


def _is_finite(module: LightningModule) -> bool:
    loss = getattr(module, "last_loss", None)
    return loss is None or math.isfinite(float(loss))
