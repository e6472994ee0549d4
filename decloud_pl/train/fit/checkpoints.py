"""Checkpoints: a training that was stopped or killed goes on where it was, bit for bit on a CPU."""

from __future__ import annotations

import logging
import pickle
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO

from decloud_pl.durable import appearing, replace_durably
from decloud_pl.shortage import shortage
from decloud_pl.train.fit.processes import LOOK_EVERY, agree
from decloud_pl.train.progress import stopped

logger = logging.getLogger(__name__)


class LocalCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and moves it there; Lightning's own goes through TMPDIR, and memory."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """As Lightning's: a path with a scheme, or options for one, is left to it."""
        if storage_options is not None or "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        place = Path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        with appearing(place) as scratch, scratch.open("wb") as file:
            torch.save(checkpoint, file)


_KEY = "decloud_pl"
_MOST_OF_THE_TIME = 0.02
"""Share of a training's time that its checkpoints may take."""


class CheckpointCallback(Callback):
    """Writes a checkpoint now and then, at epoch ends, and when the training is asked to stop.

    It holds everything that decides how the training goes on: Lightning's own state (weights, optimizer, schedule,
    loops, the place in the data), the other callbacks' and the random numbers'. Put it after the callbacks whose
    state it should hold.

    Args:
        path: the file; replaced atomically.
        fingerprint: of the training; one with another does not go on from the file.
        every_seconds: between two checkpoints; 0 for epoch ends only. When writing is slow they are further apart.
        seed: for the random numbers of several processes, whose states are not kept.
        stop_requested: whether the training was asked to stop.
        monotonic: the time in seconds.
    """

    def __init__(
        self,
        path: Path,
        *,
        fingerprint: str,
        every_seconds: float = 60.0,
        seed: int = 0,
        stop_requested: Callable[[], bool] = lambda: False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._fingerprint = fingerprint
        self._every = every_seconds
        self._seed = seed
        self._stop_requested = stop_requested
        self._monotonic = monotonic
        self._written_at = 0.0
        self._pause = 0.0
        self._random: dict[str, Any] | None = None
        self._on_sigterm = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Lightning's own handler sends a message to the other processes from wherever the signal finds this one,
        # even from within another message; with one process it may end the fit before the checkpoint is written.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_sigterm)
        self._written_at = self._monotonic()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        if self._random is None:
            return
        if trainer.world_size > 1:
            torch.manual_seed(self._seed + trainer.global_step * trainer.world_size + trainer.global_rank)
        else:
            torch.set_rng_state(self._random["cpu"])
            if self._random["cuda"]:
                torch.cuda.set_rng_state_all(self._random["cuda"])
        self._random = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if trainer.is_last_batch or (trainer.world_size > 1 and batch_idx % LOOK_EVERY):
            return
        # Gradients that are being accumulated are in no checkpoint.
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        due = self._every > 0 and self._monotonic() - self._written_at >= max(self._every, self._pause)
        stop = agree(trainer, self._stop_requested())
        if stop or agree(trainer, due or trainer.should_stop):
            self._save(trainer)
        if stop:
            raise stopped()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # An epoch that was cut short was written at its last batch, from where it could go on.
        if not trainer.is_last_batch:
            return
        stop = agree(trainer, self._stop_requested())
        last = trainer.current_epoch + 1 == trainer.max_epochs
        if stop or last or agree(trainer, self._monotonic() - self._written_at >= self._pause):
            self._save(trainer)
        if stop:
            raise stopped()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        checkpoint[_KEY] = {"fingerprint": self._fingerprint, "cpu": torch.get_rng_state(), "cuda": cuda}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._random = checkpoint.get(_KEY)

    def _save(self, trainer: Trainer) -> None:
        begun = self._monotonic()
        scratch = self._path.with_name(self._path.name + ".part")
        trainer.save_checkpoint(scratch)
        if trainer.is_global_zero:
            replace_durably(scratch, self._path)
        self._written_at = self._monotonic()
        self._pause = (self._written_at - begun) / _MOST_OF_THE_TIME


def usable(path: Path, fingerprint: str) -> Path | None:
    """The checkpoint to go on from; None when there is none, or one of another training or a damaged one.

    Raises:
        MachineShortage: this machine cannot read it now.
    """
    if not path.is_file():
        return None
    try:
        held = torch.load(path, weights_only=True, mmap=True, map_location="cpu")[_KEY]["fingerprint"]
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        missing = shortage(error)
        if missing is not None:
            raise missing from error
        logger.warning("The checkpoint %s cannot be read (%s); the training starts from the beginning", path, error)
        return None
    if held != fingerprint:
        logger.warning("The checkpoint %s is of another training; this one starts from the beginning", path)
        return None
    return path
