"""Shares follow the accuracy gained, and always add up."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from decloud_pl.data.source import ImageSplit
from decloud_pl.models.spec import ImageInput
from decloud_pl.train.score.scorer import Scorer, contributions


def test_shares_are_in_proportion_to_the_gain() -> None:
    assert contributions(0.5, {"a": 0.6, "b": 0.8}) == {"a": 2500, "b": 7500}


def test_no_gain_no_share() -> None:
    assert contributions(0.5, {"a": 0.5, "b": 0.4, "c": None, "d": 0.7}) == {"a": 0, "b": 0, "c": 0, "d": 10_000}
    assert contributions(0.5, {"a": 0.5, "b": None}) == {"a": 0, "b": 0}
    assert contributions(0.5, {}) == {}


def test_what_rounding_leaves_goes_to_someone_who_gained() -> None:
    shares = contributions(0.0, {"a": 0.1, "b": 0.1, "c": 0.1, "d": 0.0})
    assert shares == {"a": 3334, "b": 3333, "c": 3333, "d": 0}


@given(
    st.floats(0, 1),
    st.dictionaries(st.text(max_size=3), st.one_of(st.none(), st.floats(0, 1)), max_size=10),
)
@settings(max_examples=200, deadline=None)
def test_shares_add_up(baseline: float, accuracies: dict[str, float | None]) -> None:
    shares = contributions(baseline, accuracies)
    gained = {name for name, value in accuracies.items() if value is not None and value > baseline}
    assert sum(shares.values()) == (10_000 if gained else 0)
    assert all(share >= 0 for share in shares.values())
    assert all(shares[name] == 0 for name in accuracies if name not in gained)


class Brightest(nn.Module):
    """Says class 1 for bright images, class 0 for dark ones."""

    def __init__(self) -> None:
        super().__init__()
        self.sign = nn.Parameter(torch.tensor(1.0))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        bright = images.mean((1, 2, 3)) * self.sign
        return torch.stack([-bright, bright], 1)


def test_accuracy_counts_every_image_once_and_leaves_the_mode() -> None:
    images = np.stack([np.full((8, 8), value, np.uint8) for value in [0, 255] * 700 + [255]])
    labels = np.array([0, 1] * 700 + [0], np.int64)
    scorer = Scorer(ImageSplit(images, labels), ImageInput())
    network = Brightest().train()
    assert scorer.accuracy(network) == 1400 / 1401
    assert network.training
    assert scorer.accuracy_of(network, {"sign": torch.tensor(-1.0)}) == 1 / 1401
