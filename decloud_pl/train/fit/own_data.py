"""Use the validation data of a custom data module as the held-out part, for the gate's verdict."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

import torch
from lightning.pytorch import LightningDataModule

from decloud_pl.errors import TrainingError, first_line
from decloud_pl.train.score.scorer import Scorer

logger = logging.getLogger(__name__)

Rows = tuple[torch.Tensor, torch.Tensor]


class OwnHeldOut:
    """The validation data in two disjoint halves: even and odd rows, counted over all batches.

    ``select`` scores the even rows, for choosing. ``judge`` scores the odd rows, for the verdict.

    Batches must be (inputs, labels) with integer labels (N,). The first scoring reads the batches; by then, the fit has
    set up the data module. The batches whose inputs fit into ``most_bytes`` are kept in memory, at least the first
    batch. If more batches follow, the rows in them are not scored, and a warning is logged.
    """

    def __init__(self, data: LightningDataModule, *, most_bytes: int) -> None:
        self._data = data
        self._most_bytes = most_bytes
        self.select: Scorer = _RowScorer(lambda: self._half(0))
        self.judge: Scorer = _RowScorer(lambda: self._half(1))

    def _half(self, first: int) -> Rows:
        inputs, labels = self._rows
        return inputs[first::2], labels[first::2]

    @cached_property
    def _rows(self) -> Rows:
        found: list[Rows] = []
        size = 0
        for batch in _batches(self._data):
            inputs, labels = _pair(self._data.on_after_batch_transfer(batch, 0))
            size += inputs.numel() * inputs.element_size()
            if found and size > self._most_bytes:
                logger.warning(
                    "The gain is measured on the first %d validation rows; more do not fit into fit.data_memory_mb=%d.",
                    sum(len(labels) for _, labels in found),
                    self._most_bytes >> 20,
                )
                break
            found.append((inputs.detach().cpu(), labels.detach().cpu()))
        if not found:
            raise NotMeasured("the data module's val_dataloader has no batches")
        return torch.cat([inputs for inputs, _ in found]), torch.cat([labels for _, labels in found])


class NotMeasured(TrainingError):
    """The gain of an update cannot be measured. The message completes "not measured: …"."""


_REFUSED = (RuntimeError, TypeError, ValueError, IndexError)
"""What torch and the user's code raise for data of the wrong kind."""


class _RowScorer(Scorer):
    """Score rows that are already the network's input."""

    def __init__(self, rows: Callable[[], Rows]) -> None:
        self._own_rows = rows

    @cached_property
    def rows(self) -> Rows:
        try:
            return self._own_rows()
        except _REFUSED as error:
            raise NotMeasured(f"the validation batches cannot be joined ({first_line(error)})") from error

    def inputs(self, packed: torch.Tensor) -> torch.Tensor:
        return packed

    def predictions(self, network: torch.nn.Module) -> torch.Tensor:
        try:
            return super().predictions(network)
        except _REFUSED as error:
            # The user's module may transform a batch before the network. The gate runs only the network.
            reason = first_line(error)
            raise NotMeasured(f"the base model does not accept the validation batches directly ({reason})") from error


def _batches(data: LightningDataModule) -> Iterable[object]:
    loaders = data.val_dataloader()
    if isinstance(loaders, Sequence):
        if len(loaders) > 1:
            raise NotMeasured("the data module has several validation loaders")
        loaders = loaders[0] if loaders else []
    return loaders  # type: ignore[no-any-return]  # any iterable of batches


def _pair(batch: object) -> Rows:
    if isinstance(batch, Sequence) and len(batch) == 2:
        inputs, labels = batch
        tensors = isinstance(inputs, torch.Tensor) and isinstance(labels, torch.Tensor)
        if tensors and labels.ndim == 1 and not labels.is_floating_point():
            return inputs, labels.long()
    raise NotMeasured("the validation batches are not pairs of inputs and labels")
