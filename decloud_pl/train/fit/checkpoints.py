"""Checkpoints. A stopped or killed training resumes where it was, bit for bit on a CPU."""

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
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO

from decloud_pl.durable import appearing, replace_durably
from decloud_pl.shortage import shortage
from decloud_pl.train.fit.processes import agree, batches_ahead
from decloud_pl.train.progress import stopped

logger = logging.getLogger(__name__)


class LocalCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint to a file next to its destination, then rename that file.

    Lightning's own class would also need memory for a copy of the checkpoint, and space in TMPDIR.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Save a checkpoint. If ``path`` is a URL or ``storage_options`` is given, Lightning's own class saves it."""
        if storage_options is not None or "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        place = Path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        with appearing(place) as scratch, scratch.open("wb") as file:
            torch.save(checkpoint, file)


_KEY = "decloud_pl"
_ARGUMENTS = tuple(
    key
    for kind in (LightningModule, LightningDataModule)
    for key in (kind.CHECKPOINT_HYPER_PARAMS_KEY, kind.CHECKPOINT_HYPER_PARAMS_NAME, kind.CHECKPOINT_HYPER_PARAMS_TYPE)
)
"""The keys under which Lightning stores what ``save_hyperparameters`` has saved."""
_MOST_OF_THE_TIME = 0.02
"""Largest share of a training's time to spend on checkpoints."""


class CheckpointCallback(Callback):
    """Write checkpoints at intervals, at epoch ends, and when a stop is requested.

    A checkpoint holds everything that determines how the training continues: Lightning's own state (weights, optimizer,
    schedule, loops, position in the data), the state of the other callbacks, and the random number generators. It has
    no arguments that a module saved with ``save_hyperparameters``. Put this callback after the callbacks whose state a
    checkpoint must include.

    Args:
        path: the file. It is replaced atomically.
        fingerprint: identifies the training. A training with another fingerprint does not resume from the file.
        every_seconds: time between two checkpoints; longer if writing is slow. 0 writes at epoch ends only.
        seed: determines the random numbers after a resume with several processes, because a checkpoint does not hold
            the generator states of all processes.
        stop_requested: returns whether the training must stop.
        monotonic: returns the time in seconds.
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
        self._is_writing = False
        self._random: dict[str, Any] | None = None
        self._on_sigterm = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # With several processes, Lightning's own handler sends them a message from wherever the signal arrives, even
        # from within another message. With one process it may end the fit before the checkpoint is written.
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
        if trainer.is_last_batch or not batches_ahead(trainer, batch_idx):
            return
        # A checkpoint does not hold partly accumulated gradients.
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        due = self._every > 0 and self._monotonic() - self._written_at >= max(self._every, self._pause)
        stop = agree(trainer, self._stop_requested())
        if stop or agree(trainer, due or trainer.should_stop):
            self._save(trainer)
        if stop:
            raise stopped()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # An epoch that ended early was saved at its last batch, from which it can resume.
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
        if self._is_writing:  # another callback's file keeps the arguments for `load_from_checkpoint`
            # A resumed training builds its modules again. `usable` refuses a file with a pickled network.
            for key in _ARGUMENTS:
                checkpoint.pop(key, None)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._random = checkpoint.get(_KEY)

    def _save(self, trainer: Trainer) -> None:
        begun = self._monotonic()
        scratch = self._path.with_name(self._path.name + ".part")
        self._is_writing = True
        try:
            trainer.save_checkpoint(scratch)
        finally:
            self._is_writing = False
        if trainer.is_global_zero:
            replace_durably(scratch, self._path)
        self._written_at = self._monotonic()
        self._pause = (self._written_at - begun) / _MOST_OF_THE_TIME


def usable(path: Path, fingerprint: str) -> Path | None:
    """Return ``path`` if the training can resume from it; None if it is missing, damaged or of another training.

    Raises:
        MachineShortage: this machine has too little memory or too few file descriptors to read the file now.
    """
    if not path.is_file():
        return None
    try:
        held = torch.load(path, weights_only=True, mmap=True, map_location="cpu")[_KEY]["fingerprint"]
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        missing = shortage(error)
        if missing is not None:
            raise missing from error
        logger.warning("Cannot read the checkpoint %s (%s); the training starts from scratch", path, error)
        return None
    if held != fingerprint:
        logger.warning("The checkpoint %s belongs to another training; this training starts from scratch", path)
        return None
    return path
