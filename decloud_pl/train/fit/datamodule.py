"""The data of one round: in memory in compact form where that fits, streamed where not."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningDataModule

from decloud_pl.data.source import Source, SplitName
from decloud_pl.models.spec import InputSpec
from decloud_pl.train.fit.batches import BatchReader, BatchStream, MemoryReader, Rows, StreamReader, packed_bytes
from decloud_pl.train.fit.encoding import encoder_for
from decloud_pl.train.score.scorer import HeldOut, Scorer

logger = logging.getLogger(__name__)

_EVALUATION_BATCH = 512


class RoundDataModule(LightningDataModule):
    """Splits of a `Source` for one network's input.

    Batches reach the device in compact form and become what the network takes there (`on_after_batch_transfer`).
    Validation is on one half of the data that is held out of the training split; the other half is for the verdict on
    the finished update (`held_out`).

    Args:
        source: the data set.
        spec: the network's input.
        batch_size: samples per step, of all devices and machines together.
        seed: of the order of the training batches.
        memory_bytes: a packed training or test split larger than this is streamed.
        workers: processes that stream.
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
    ) -> None:
        super().__init__()
        self.source = source
        self.spec = spec
        self.held_out = HeldOut(lambda: source.load("held_out"), spec)
        self._encoder = encoder_for(spec)
        self._batch_size = batch_size
        self._seed = seed
        self._memory_bytes = memory_bytes
        self._workers = workers
        self._readers: dict[SplitName, BatchReader] = {}
        self._train: BatchStream | None = None
        self._place: dict[str, int] | None = None

    @property
    def num_classes(self) -> int:
        """Of the data set."""
        return self.source.num_classes

    def again(self, *, seed: int | None = None) -> RoundDataModule:
        """The same data from its beginning, for another fit, perhaps in another order; what was packed is shared."""
        other = RoundDataModule(
            self.source,
            self.spec,
            batch_size=self._batch_size,
            seed=self._seed if seed is None else seed,
            memory_bytes=self._memory_bytes,
            workers=self._workers,
        )
        other.held_out = self.held_out
        other._readers = self._readers  # its own kind
        return other

    def train_dataloader(self) -> BatchStream:
        """Shuffled; each process has its part of every batch."""
        trainer, reader = self.trainer, self._reader("train")
        self._train = BatchStream(
            reader,
            batch_size=self._batch_size,
            seed=self._seed,
            limit=None if trainer is None else self.batches_per_epoch(trainer.limit_train_batches),
            epoch=0 if trainer is None else trainer.current_epoch,
            rank=trainer.global_rank if trainer else 0,
            world=trainer.world_size if trainer else 1,
        )
        if self._place is not None:
            self._train.load_state_dict(self._place)
            self._place = None
        return self._train

    def batches_per_epoch(self, limit: float | None) -> int:
        """Batches of an epoch of the training split under Lightning's ``limit_train_batches``."""
        whole = -(-len(self._reader("train")) // self._batch_size)
        if limit is None:
            return whole
        return min(whole, int(whole * limit) if isinstance(limit, float) else limit)

    def state_dict(self) -> dict[str, Any]:
        """The place in the training data."""
        return {} if self._train is None else self._train.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning gives a data loader its state back too late in some cases: this comes before it makes one."""
        self._place = state_dict

    def val_dataloader(self) -> BatchStream:
        """The half of the held-out data by which a training's results are chosen."""
        return self._in_order(_HalfReader(self.held_out.select, pinned=self._pinned()))

    def test_dataloader(self) -> BatchStream:
        """The test split, which validators score on."""
        return self._in_order(self._reader("test"))

    def on_after_batch_transfer(self, batch: Sequence[torch.Tensor], dataloader_idx: int) -> tuple[torch.Tensor, ...]:
        """What the network takes, made on the device it runs on."""
        packed, *rest = batch
        inputs = self._encoder.batch(packed)
        if self.trainer is not None:
            # Lightning converts a batch before this makes numbers with a fraction of it.
            inputs = self.trainer.precision_plugin.convert_input(inputs)
        return (inputs, *rest)

    def _in_order(self, reader: BatchReader) -> BatchStream:
        trainer = self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        return BatchStream(reader, batch_size=_EVALUATION_BATCH, seed=None, rank=rank, world=world)

    def _pinned(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"

    def _reader(self, name: SplitName) -> BatchReader:
        if name not in self._readers:
            split = self.source.load(name)
            size = packed_bytes(split, self._encoder)
            if size <= self._memory_bytes:
                packed = self._encoder.pack(split)
                self._readers[name] = MemoryReader(packed, torch.from_numpy(split.labels), pinned=self._pinned())
            else:
                logger.info("%s takes %d MB and is streamed", name, size >> 20)
                self._readers[name] = StreamReader(split, self._encoder, workers=self._workers, pinned=self._pinned())
        return self._readers[name]


class _HalfReader:
    """Rows of a half of the held-out data, packed at the first validation: the first step does not wait for it."""

    def __init__(self, half: Scorer, *, pinned: bool) -> None:
        self._half = half
        self._pinned = pinned

    def __len__(self) -> int:
        return len(self._half.split)

    def read(self, batches: Sequence[torch.Tensor]) -> Iterator[Rows]:
        packed, labels = self._half.rows
        return MemoryReader(packed, labels, pinned=self._pinned).read(batches)
