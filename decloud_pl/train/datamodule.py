"""The data of one round: in memory in compact form where that fits, streamed where not."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningDataModule

from decloud_pl.data.source import Source, SplitName
from decloud_pl.models.spec import InputSpec
from decloud_pl.train.batches import BatchStream, MemoryReader, Reader, StreamReader, packed_bytes
from decloud_pl.train.encoding import encoder_for

logger = logging.getLogger(__name__)

_EVALUATION_BATCH = 512


class RoundDataModule(LightningDataModule):
    """Splits of a `Source` for one network's input.

    Batches reach the device in compact form and become what the network takes there (`on_after_batch_transfer`).

    Args:
        source: the data set.
        spec: the network's input.
        batch_size: of all devices and machines together.
        seed: of the order of the training batches.
        max_batches: per epoch; 0 for all.
        memory_bytes: a packed split larger than this is streamed.
        workers: processes that stream.
    """

    def __init__(
        self,
        source: Source,
        spec: InputSpec,
        *,
        batch_size: int,
        seed: int = 0,
        max_batches: int = 0,
        memory_bytes: int = 2 << 30,
        workers: int = 2,
    ) -> None:
        super().__init__()
        self._source = source
        self._spec = spec
        self._encoder = encoder_for(spec)
        self._batch_size = batch_size
        self._seed = seed
        self._max_batches = max_batches
        self._memory_bytes = memory_bytes
        self._workers = workers
        self._readers: dict[SplitName, Reader] = {}
        self._train: BatchStream | None = None
        self._place: dict[str, int] | None = None

    def again(self, *, seed: int | None = None, max_batches: int | None = None) -> RoundDataModule:
        """The same data from its beginning, for another fit; what was packed is shared.

        Args:
            seed: another one.
            max_batches: another number.
        """
        other = RoundDataModule(
            self._source,
            self._spec,
            batch_size=self._batch_size,
            seed=self._seed if seed is None else seed,
            max_batches=self._max_batches if max_batches is None else max_batches,
            memory_bytes=self._memory_bytes,
            workers=self._workers,
        )
        other._readers = self._readers  # its own kind
        return other

    def train_dataloader(self) -> BatchStream:
        """Shuffled; each process has its part of every batch."""
        trainer = self.trainer
        self._train = BatchStream(
            self._reader("train"),
            batch_size=self._batch_size,
            seed=self._seed,
            limit=self._max_batches,
            rank=trainer.global_rank if trainer else 0,
            world=trainer.world_size if trainer else 1,
        )
        if self._place is not None:
            self._train.load_state_dict(self._place)
        return self._train

    def state_dict(self) -> dict[str, Any]:
        """The place in the training data."""
        return {} if self._train is None else self._train.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning gives a data loader its state back too late in some cases: this comes before it makes one."""
        self._place = state_dict

    def val_dataloader(self) -> BatchStream:
        """The part of the training data that is held out."""
        return self._in_order("held_out")

    def test_dataloader(self) -> BatchStream:
        return self._in_order("test")

    def on_after_batch_transfer(
        self,
        batch: Sequence[torch.Tensor],
        dataloader_idx: int,  # noqa: ARG002
    ) -> tuple[torch.Tensor, ...]:
        """What the network takes, made on the device it runs on."""
        packed, *rest = batch
        return (self._encoder.batch(packed), *rest)

    def _in_order(self, split: SplitName) -> BatchStream:
        return BatchStream(self._reader(split), batch_size=_EVALUATION_BATCH, seed=None)

    def _reader(self, name: SplitName) -> Reader:
        if name not in self._readers:
            split = self._source.load(name)
            size = packed_bytes(split, self._encoder)
            pinned = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
            if size <= self._memory_bytes:
                self._readers[name] = MemoryReader(split, self._encoder, pinned=pinned)
            else:
                logger.info("%s takes %d MB and is streamed", name, size >> 20)
                self._readers[name] = StreamReader(split, self._encoder, workers=self._workers, pinned=pinned)
        return self._readers[name]
