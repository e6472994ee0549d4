"""Batches of a split, read from memory or by worker processes. A seed determines their order.

Both ways of reading return the same batches in the same order. A stream can resume in the middle of an epoch. Several
processes can share a stream: each process gets its part of every batch.
"""

from __future__ import annotations

import logging
import math
import multiprocessing
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from decloud_pl.data.source import Split
from decloud_pl.train.fit.encoding import Encoder

logger = logging.getLogger(__name__)

Rows = tuple[torch.Tensor, torch.Tensor]
"""Packed samples, and their labels as int64 (N,)."""
Arrays = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
"""Packed samples and labels as arrays."""


class BatchReader(Protocol):
    """A source of the rows of a split."""

    def __len__(self) -> int: ...

    def read(self, batches: Sequence[torch.Tensor]) -> Iterator[Rows]:
        """Yield the rows of each batch, in order. ``batches`` has the indices of each batch's rows."""
        ...


class MemoryReader:
    """Reads batches from the whole split, packed in memory. A batch takes a single indexing operation."""

    def __init__(self, packed: torch.Tensor, labels: torch.Tensor) -> None:
        self._packed = packed
        self._labels = labels

    def __len__(self) -> int:
        return len(self._labels)

    def read(self, batches: Sequence[torch.Tensor]) -> Iterator[Rows]:
        for batch in batches:
            yield self._packed[batch], self._labels[batch]


class StreamReader:
    """Packs each batch on demand, for splits that do not fit into memory.

    ``workers`` processes pack the batches. If ``workers`` is 0 or the processes cannot start, the current process packs
    them.
    """

    def __init__(self, split: Split, encoder: Encoder, *, workers: int) -> None:
        self._dataset = _PackedBatches(split, encoder)
        self._workers = workers

    def __len__(self) -> int:
        return len(self._dataset)

    def read(self, batches: Sequence[torch.Tensor]) -> Iterator[Rows]:
        loader: DataLoader[Arrays] = DataLoader(
            self._dataset,
            batch_sampler=[batch.tolist() for batch in batches],
            collate_fn=_as_it_is,
            num_workers=self._workers if _workers_can_start() else 0,
            # A loader draws a seed. Drawing it from the global generator would change what dropout draws.
            generator=torch.Generator(),
        )
        for packed, labels in loader:
            yield torch.from_numpy(packed), torch.from_numpy(labels)


class JoinedReader:
    """The rows of the reader ``first``, followed by the rows of the reader ``second``."""

    def __init__(self, first: BatchReader, second: BatchReader) -> None:
        self._first = first
        self._second = second

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    def read(self, batches: Sequence[torch.Tensor]) -> Iterator[Rows]:
        count = len(self._first)
        first = self._first.read([batch[batch < count] for batch in batches])
        second = self._second.read([batch[batch >= count] - count for batch in batches])
        for (rows, labels), (other_rows, other_labels) in zip(first, second, strict=True):
            yield torch.cat([rows, other_rows]), torch.cat([labels, other_labels])


def _workers_can_start() -> bool:
    """Return whether worker processes can start. They need pipes, and locks that are files in /dev/shm."""
    try:
        multiprocessing.SimpleQueue().close()
    except OSError as error:
        logger.warning(
            "Cannot start worker processes (%s). Batches are read in this process, which is slower. Free up space in"
            " /dev/shm, allow more open files, or set fit.data_workers=0.",
            error.strerror,
        )
        return False
    return True


class _PackedBatches(Dataset[Arrays]):
    """Packed batches of a split, as arrays. A worker process sends arrays through a pipe.

    Tensors would travel through /dev/shm and a socket in TMPDIR. If /dev/shm is too small or the path of TMPDIR is too
    long, the worker would fail and the loader would wait forever.
    """

    def __init__(self, split: Split, encoder: Encoder) -> None:
        self._split = split
        self._encoder = encoder

    def __len__(self) -> int:
        return len(self._split)

    def __getitems__(self, indices: list[int]) -> Arrays:
        part = self._split.take(np.asarray(indices, np.int64))
        return self._encoder.pack(part).numpy(), np.asarray(part.labels)


def _as_it_is(rows: Any) -> Any:  # a loader's own type is a list of samples
    return rows


def packed_bytes(split: Split, encoder: Encoder) -> int:
    """Return the packed size of a whole split in bytes, estimated from its first sample."""
    if not len(split):
        return 0
    first = encoder.pack(split.take(np.zeros(1, np.int64)))
    return first.numel() * first.element_size() * len(split)


class BatchStream:
    """Successive epochs of a split, usable as a data loader by Lightning.

    It yields (packed, labels). If the processes get unequal parts of a batch, it also yields a weight, as the last
    entry. Each process multiplies its mean loss by its weight. The average over all processes is then the mean over the
    whole batch.

    Args:
        reader: the split.
        batch_size: number of samples in a batch, over all processes. Only the last batch may be smaller.
        seed: shuffles every epoch differently; None keeps the order.
        limit: number of batches per epoch; None for all. ``len()`` still counts all batches, because Lightning applies
            ``limit_train_batches`` to it.
        epoch: number of the first epoch.
        rank: number of this process, from 0.
        world: number of processes.
        numbered: also yield each row's index in the split, int64 (N,), after the labels.
        pinned: yield the rows in page-locked memory. A GPU can fetch them while it computes.
    """

    def __init__(
        self,
        reader: BatchReader,
        *,
        batch_size: int,
        seed: int | None,
        limit: int | None = None,
        epoch: int = 0,
        rank: int = 0,
        world: int = 1,
        numbered: bool = False,
        pinned: bool = False,
    ) -> None:
        self._reader = reader
        self._batch_size = batch_size
        self._seed = seed
        self._limit = limit
        self._rank = rank
        self._world = world
        self._numbered = numbered
        self._pinned = pinned
        self._next = (epoch, 0)  # epoch and batch at which the next iteration starts
        self._reached = (epoch, 0)  # epoch and batch after the last batch returned

    def __len__(self) -> int:
        return math.ceil(len(self._reader) / self._batch_size)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        epoch, position = self._next
        self._next = (epoch + 1, 0)
        shared = self._batches(epoch)[position:]
        parts = [torch.tensor_split(batch, self._world)[self._rank] for batch in shared]
        # A process without a share of a small last batch still has to take part in the step.
        wanted = [part if len(part) else batch[:1] for part, batch in zip(parts, shared, strict=True)]
        rows = self._reader.read(wanted)
        for batch, part, numbers, row in zip(shared, parts, wanted, rows, strict=True):
            position += 1
            self._reached = (epoch, position)
            weight = len(part) * self._world / len(batch)
            held = (row[0].pin_memory(), row[1].pin_memory()) if self._pinned else row
            one = (*held, numbers) if self._numbered else held
            yield one if weight == 1 else (*one, torch.tensor(weight))

    def _batches(self, epoch: int) -> list[torch.Tensor]:
        if self._seed is None:
            order = torch.arange(len(self._reader))
        else:
            generator = torch.Generator().manual_seed(self._seed + epoch)
            order = torch.randperm(len(self._reader), generator=generator)
        return list(torch.split(order, self._batch_size))[: self._limit]

    def state_dict(self) -> dict[str, int]:
        """Return the position after the last batch that was yielded."""
        epoch, position = self._reached
        whole = len(self) if self._limit is None else self._limit
        return {"epoch": epoch + 1, "batch": 0} if position >= whole else {"epoch": epoch, "batch": position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Start the next iteration at a position that `state_dict` returned."""
        self._next = self._reached = (state["epoch"], state["batch"])
