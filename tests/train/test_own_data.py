"""The held-out rows of a custom data module."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import torch
from lightning.pytorch import LightningDataModule

from decloud_pl.train.fit.own_data import NotMeasured, OwnHeldOut


class Rows(LightningDataModule):
    def val_dataloader(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for first in range(0, 40, 10):
            yield torch.full((10, 2), float(first)), torch.arange(first, first + 10)


def test_the_halves_have_no_row_in_common() -> None:
    halves = OwnHeldOut(Rows(), most_bytes=1 << 20)
    select, judge = halves.select.rows, halves.judge.rows
    assert select[1].tolist() == list(range(0, 40, 2))
    assert judge[1].tolist() == list(range(1, 40, 2))


@pytest.mark.parametrize(("most_bytes", "kept"), [(170, 20), (1, 10), (10_000, 40)])
def test_rows_beyond_the_memory_are_not_scored_and_a_warning_says_so(
    most_bytes: int, kept: int, caplog: pytest.LogCaptureFixture
) -> None:
    halves = OwnHeldOut(Rows(), most_bytes=most_bytes)
    assert sum(len(scorer.rows[1]) for scorer in (halves.select, halves.judge)) == kept
    assert (f"first {kept} validation rows" in caplog.text) is (kept < 40)
    assert all(record.levelno == logging.WARNING for record in caplog.records)


class Ragged(LightningDataModule):
    """Each batch is padded to its own length."""

    def val_dataloader(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for width in (2, 3):
            yield torch.zeros(10, width), torch.zeros(10, dtype=torch.long)


def test_batches_that_cannot_be_joined_are_not_measured() -> None:
    halves = OwnHeldOut(Ragged(), most_bytes=1 << 20)
    with pytest.raises(NotMeasured, match="the validation batches cannot be joined"):
        halves.select.load()
