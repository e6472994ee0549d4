"""The interval of a gain covers what a validator measures. The halves of the held-out part do not overlap."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from decloud_pl.data.source import ImageSplit
from decloud_pl.models.inputs import ImageInput
from decloud_pl.train.score.scorer import Gain, HeldOut, accuracy_of_hits


def paired_hits(
    random: np.random.Generator, count: int, both: float, won: float, lost: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw hits in these shares: right with both models, only with the update, only with the base model."""
    cell = random.choice(4, size=count, p=[both, won, lost, 1 - both - won - lost])
    return torch.from_numpy((cell == 0) | (cell == 2)), torch.from_numpy((cell == 0) | (cell == 1))


@pytest.mark.parametrize(
    ("samples", "population", "cells"),
    [
        (3000, 10_000, (0.1, 0.75, 0.01)),  # a first round
        (3000, 10_000, (0.85, 0.02, 0.015)),  # hardly any gain
        (3000, 10_000, (0.5, 0.05, 0.2)),  # a loss
        (72, 360, (0.1, 0.5, 0.02)),  # the digits
        (72, 360, (0.9, 0.02, 0.02)),
        (500, None, (0.6, 0.1, 0.05)),
    ],
)
def test_the_interval_covers_what_a_validator_measures(
    samples: int, population: int | None, cells: tuple[float, float, float]
) -> None:
    random = np.random.default_rng(3)
    covered, trials = 0, 2000
    for _ in range(trials):
        gain = Gain.from_hits(*paired_hits(random, samples, *cells), population)
        before, after = paired_hits(random, population or samples, *cells)
        covered += gain.low <= accuracy_of_hits(after) - accuracy_of_hits(before) <= gain.high
    # 95 % minus four standard errors of the simulation below. The interval must also be narrow enough to be useful.
    assert 0.93 <= covered / trials <= 0.99


def test_no_change_is_no_gain_and_never_certain() -> None:
    hits = torch.tensor([True] * 60 + [False] * 40)
    gain = Gain.from_hits(hits, hits, 1000)
    assert (gain.before, gain.after, gain.gain, gain.samples) == (0.6, 0.6, 0.0, 100)
    assert gain.low == -gain.high < 0


def test_a_larger_test_split_says_more() -> None:
    before, after = torch.zeros(100, dtype=torch.bool), torch.arange(100) < 50
    near, far = Gain.from_hits(before, after, 100_000), Gain.from_hits(before, after, 50)
    assert far.low < near.low < 0.5 < near.high < far.high
    assert Gain.from_hits(before, after) == Gain.from_hits(before, after, 100)


def test_a_handful_of_samples_proves_nothing() -> None:
    assert Gain.from_hits(torch.zeros(0, dtype=torch.bool), torch.zeros(0, dtype=torch.bool)).low < 0
    assert Gain.from_hits(torch.tensor([False]), torch.tensor([True])).low < 0
    with pytest.raises(ValueError, match="must have the same length"):
        Gain.from_hits(torch.tensor([False]), torch.tensor([True, True]))


class Marker(torch.nn.Module):
    """Right for images whose first pixel is their label."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values = ((images[:, 0, 0, 0] + 1) * 127.5).round().long()
        self.seen += values.tolist()
        return torch.nn.functional.one_hot(values % 2, 2).float()


def test_what_is_chosen_by_is_not_judged_by() -> None:
    count = 101
    images = np.zeros((count, 32, 32), np.uint8)
    images[:, 0, 0] = np.arange(count)
    loads: list[int] = []

    def load() -> ImageSplit:
        loads.append(1)
        return ImageSplit(images, np.zeros(count, np.int64))

    held_out = HeldOut(load, ImageInput())
    assert loads == []
    select, judge = Marker(), Marker()
    hits = held_out.select.hits(select)
    assert hits.tolist() == [value % 2 == 0 for value in select.seen]
    held_out.judge.hits(judge)
    assert (len(select.seen), len(judge.seen), len(loads)) == (50, 51, 1)
    assert sorted(select.seen + judge.seen) == list(range(count))
    again = HeldOut(load, ImageInput())
    assert torch.equal(again.select.hits(Marker()), hits)
