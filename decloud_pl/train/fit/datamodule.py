"""The data of one round. It is kept in memory in compact form if it fits, and streamed otherwise."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from lightning.pytorch import LightningDataModule

from decloud_pl.data.source import HELD_OUT_BYTES, Source, Split, SplitName
from decloud_pl.errors import TrainingError
from decloud_pl.models.inputs import InputSpec
from decloud_pl.train.fit.augment import Augmentation
from decloud_pl.train.fit.batches import (
    BatchReader,
    BatchStream,
    JoinedReader,
    MemoryReader,
    Rows,
    StreamReader,
    packed_bytes,
)
from decloud_pl.train.fit.encoding import encoder_for
from decloud_pl.train.score.scorer import HeldOut, Scorer, rows_at_once

logger = logging.getLogger(__name__)


class RoundDataModule(LightningDataModule):
    """The splits of a `Source` as input for one network.

    Batches reach the device in compact form. `on_after_batch_transfer` converts them to the network's input there.
    Validation uses one half of the held-out part, ``held_out.select``. The other half, ``held_out.judge``, is for the
    verdict on the finished update.

    Args:
        source: the data set.
        spec: the network's input.
        batch_size: samples per step, summed over all devices and machines.
        seed: determines the order of the training batches.
        memory_bytes: a packed training or test split larger than this is streamed.
        workers: number of processes that read a streamed split.
        augment: random changes of the training images; see `Augmentation`. Texts are never changed.
    """

    def __init__(
        self,
        source: Source,
        spec: InputSpec,
        *,
        batch_size: int = 32,
        seed: int = 0,
        memory_bytes: int = 2 << 30,
        workers: int = 2,
        augment: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.source = source
        self.spec = spec
        self.held_out = HeldOut(self._load_held_out, spec)
        self._encoder = encoder_for(spec)
        self._batch_size = batch_size
        self._seed = seed
        self._memory_bytes = memory_bytes
        self._workers = workers
        self._augment = Augmentation.of(augment)
        self._readers: dict[SplitName, BatchReader] = {}
        self._train: BatchStream | None = None
        self._place: dict[str, int] | None = None

    @property
    def num_classes(self) -> int:
        """The number of classes of the data set."""
        return self.source.num_classes

    @property
    def training_samples(self) -> int:
        """The number of samples in the training split."""
        return len(self._reader("train"))

    def again(
        self, *, seed: int | None = None, batch_size: int | None = None, augment: Mapping[str, Any] | None = None
    ) -> Self:
        """Return a data module for another fit, which starts at the first batch. The two modules share their rows.

        Each argument replaces this module's value; None keeps that value. The result is a shallow copy, so it has the
        class and the attributes of a subclass.
        """
        other = copy.copy(self)
        other.trainer = None
        other._train = other._place = None  # noqa: SLF001  # of the same class
        if seed is not None:
            other._seed = seed  # noqa: SLF001
        if batch_size is not None:
            other._batch_size = batch_size  # noqa: SLF001
        if augment is not None:
            other._augment = Augmentation.of(augment)  # noqa: SLF001
        return other

    def with_held_out(self) -> Self:
        """Return a data module for another fit. Its training data also include the held-out part."""
        other = self.again()
        other._readers = {  # noqa: SLF001  # of the same class
            **self._readers,
            "train": JoinedReader(self._reader("train"), self._reader("held_out")),
        }
        return other

    def train_dataloader(self) -> BatchStream:
        """Return the shuffled training batches. Each process gets its part of every batch."""
        trainer, reader = self.trainer, self._reader("train")
        self._train = BatchStream(
            reader,
            batch_size=self._batch_size,
            seed=self._seed,
            limit=None if trainer is None else self.batches_per_epoch(trainer.limit_train_batches),
            epoch=0 if trainer is None else trainer.current_epoch,
            rank=trainer.global_rank if trainer else 0,
            world=trainer.world_size if trainer else 1,
            numbered=self._augments,
            pinned=self._pinned(),
        )
        if self._place is not None:
            self._train.load_state_dict(self._place)
            self._place = None
        return self._train

    def batches_per_epoch(self, limit: float | None) -> int:
        """Return the number of training batches per epoch. ``limit`` is Lightning's ``limit_train_batches``."""
        whole = -(-len(self._reader("train")) // self._batch_size)
        if limit is None:
            return whole
        return min(whole, int(whole * limit) if isinstance(limit, float) else limit)

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the training data."""
        return {} if self._train is None else self._train.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Store the position at which the next training data loader starts.

        Lightning may restore the state of a data loader too late, so the data module restores it.
        """
        self._place = state_dict

    def val_dataloader(self) -> BatchStream:
        """Return the batches of ``held_out.select``, the half of the held-out part that is used for choosing."""
        return self._in_order(_HalfReader(self.held_out.select))

    def test_dataloader(self) -> BatchStream:
        """Return the batches of the test split, on which validators score."""
        return self._in_order(self._reader("test"))

    def on_after_batch_transfer(self, batch: Sequence[torch.Tensor], dataloader_idx: int) -> tuple[torch.Tensor, ...]:
        """Convert packed rows to the network's input, on the network's device. In training, augment them first."""
        packed, *rest = batch
        if self._augments and self.trainer is not None and self.trainer.training:
            labels, numbers, *rest = rest
            packed, rest = self._augment(packed, numbers, self.trainer.current_epoch), [labels, *rest]
        inputs = self._encoder.batch(packed)
        if self.trainer is not None:
            # Lightning converts a batch before this hook, when the rows are still integers.
            inputs = self.trainer.precision_plugin.convert_input(inputs)
        return (inputs, *rest)

    @property
    def _augments(self) -> bool:
        return bool(self._augment) and self.source.kind == "image"

    def _in_order(self, reader: BatchReader) -> BatchStream:
        trainer = self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        size, pinned = rows_at_once(self.spec), self._pinned()
        return BatchStream(reader, batch_size=size, seed=None, rank=rank, world=world, pinned=pinned)

    def _pinned(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"

    def _load_held_out(self) -> Split:
        split = self.source.load("held_out")
        size, most = packed_bytes(split, self._encoder), max(self._memory_bytes, HELD_OUT_BYTES)
        if size > most:
            raise TrainingError(
                f"The held-out part takes {size >> 20:,} MB as input of this base model, more than {most >> 20:,} MB.",
                fix="Raise fit.data_memory_mb if this machine has the memory.",
            )
        return split

    def _reader(self, name: SplitName) -> BatchReader:
        if name not in self._readers:
            split = self.source.load(name)
            size = packed_bytes(split, self._encoder)
            if size <= self._memory_bytes:
                packed = self._encoder.pack(split)
                self._readers[name] = MemoryReader(packed, torch.from_numpy(split.labels))
            else:
                logger.info("The %s split takes %d MB, so it is streamed instead of kept in memory", name, size >> 20)
                self._readers[name] = StreamReader(split, self._encoder, workers=self._workers)
        return self._readers[name]


class _HalfReader:
    """Reads one half of the held-out part. Packs the rows only at the first validation, so training starts sooner."""

    def __init__(self, half: Scorer) -> None:
        self._half = half

    def __len__(self) -> int:
        return len(self._half.split)

    def read(self, batches: Sequence[torch.Tensor]) -> Iterator[Rows]:
        packed, labels = self._half.rows
        return MemoryReader(packed, labels).read(batches)
