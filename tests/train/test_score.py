"""The samples that a model gets right."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from decloud_pl.data.source import ImageSplit
from decloud_pl.models.inputs import MAX_TEXT_LENGTH, ImageInput, TextInput
from decloud_pl.train.score.scorer import Scorer, rows_at_once


class Brightest(nn.Module):
    """Predicts class 1 for bright images and class 0 for dark ones."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []
        self.sign = nn.Parameter(torch.tensor(1.0))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(images))
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


def test_inputs_of_unusual_size_are_scored_in_smaller_pieces() -> None:
    assert [rows_at_once(ImageInput(size=size)) for size in (8, 224, 256, 257, 1024)] == [512, 512, 512, 508, 32]
    assert [rows_at_once(TextInput(length=length)) for length in (128, 256, 512, MAX_TEXT_LENGTH)] == [512, 512, 128, 2]
    images = np.stack([np.full((8, 8), value, np.uint8) for value in [0, 255] * 20])
    scorer, network = Scorer(ImageSplit(images, np.array([0, 1] * 20, np.int64)), ImageInput(size=1024)), Brightest()
    assert scorer.accuracy(network) == 1
    assert network.batches == [32, 8]
