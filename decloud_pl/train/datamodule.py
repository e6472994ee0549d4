"""The data of one round, whole in memory in compact form; a batch is gathered and encoded at once.

That is faster than a ``DataLoader`` with worker processes: nothing is decoded, pickled or copied per sample.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from lightning.pytorch import LightningDataModule

from decloud_pl.data.source import Source
from decloud_pl.models.spec import InputSpec
from decloud_pl.train.encoding import Encoder, encoder_for

Batch = tuple[torch.Tensor, torch.Tensor]


class BatchStream:
    """Batches of a split: what the encoder's `batch` gives, and labels int64 (B,).

    Args:
        packed: what the encoder's `pack` gave, N rows.
        labels: int64 (N,).
        encoder: of the network's input.
        batch_size: of every batch but the last.
        seed: shuffles, another order each epoch; None keeps the order.
    """

    def __init__(
        self, packed: torch.Tensor, labels: torch.Tensor, encoder: Encoder, *, batch_size: int, seed: int | None
    ) -> None:
        self._packed = packed
        self._labels = labels
        self._encoder = encoder
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        return math.ceil(len(self._labels) / self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        order: torch.Tensor | None = None
        if self._seed is not None:
            generator = torch.Generator().manual_seed(self._seed + self._epoch)
            order = torch.randperm(len(self._labels), generator=generator)
            self._epoch += 1
        for start in range(0, len(self._labels), self._batch_size):
            chosen = (
                slice(start, start + self._batch_size) if order is None else order[start : start + self._batch_size]
            )
            yield self._encoder.batch(self._packed[chosen]), self._labels[chosen]


class RoundDataModule(LightningDataModule):
    """Splits of a `Source` for one network's input."""

    def __init__(self, source: Source, spec: InputSpec, *, batch_size: int, seed: int = 0) -> None:
        super().__init__()
        self._source = source
        self._encoder = encoder_for(spec)
        self._batch_size = batch_size
        self._seed = seed
        self._train: BatchStream | None = None

    def setup(self, stage: str) -> None:
        if stage == "fit" and self._train is None:
            split = self._source.load("train")
            self._train = BatchStream(
                self._encoder.pack(split),
                torch.from_numpy(split.labels),
                self._encoder,
                batch_size=self._batch_size,
                seed=self._seed,
            )

    def train_dataloader(self) -> BatchStream:
        if self._train is None:
            self.setup("fit")
        assert self._train is not None  # noqa: S101  # set by the line above
        return self._train
