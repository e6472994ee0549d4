"""The splits of a data set are fixed, cover it, and never mix."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from decloud_pl.data.catalog import ENTRIES
from decloud_pl.data.digits import Digits
from decloud_pl.data.source import ImageSplit, check_labels
from decloud_pl.errors import DatasetError


def pixels(split: ImageSplit) -> NDArray[np.uint8]:
    assert isinstance(split.images, np.ndarray)
    return split.images


def rows(split: ImageSplit) -> set[bytes]:
    return {image.tobytes() + label.tobytes() for image, label in zip(pixels(split), split.labels, strict=True)}


def test_splits_cover_the_data_and_never_mix() -> None:
    source = Digits()
    splits = {name: source.load(name) for name in ("train", "held_out", "test")}
    assert sum(len(split) for split in splits.values()) == 1797
    assert len(splits["test"]) == 359
    for first, second in combinations(splits.values(), 2):
        assert not rows(first) & rows(second)
    for split in splits.values():
        assert pixels(split).dtype == np.uint8
        assert pixels(split).shape[1:] == (8, 8)
        assert set(split.labels) == set(range(ENTRIES["digits"].num_classes))
    assert pixels(splits["test"]).max() == 255


def test_splits_are_the_same_every_time() -> None:
    first, second = Digits().load("train"), Digits().load("train")
    assert np.array_equal(pixels(first), pixels(second))
    assert np.array_equal(first.labels, second.labels)


@pytest.mark.parametrize("labels", [[0, 10], [-1, 0]])
def test_a_label_out_of_range_is_named(labels: list[int]) -> None:
    split = ImageSplit(np.zeros((2, 8, 8), np.uint8), np.array(labels, np.int64))
    with pytest.raises(DatasetError, match="label outside 0 to 9"):
        check_labels(split, 10, "digits")


def test_images_and_labels_must_be_as_many() -> None:
    with pytest.raises(DatasetError, match="3 images and 2 labels"):
        check_labels(ImageSplit(np.zeros((3, 8, 8), np.uint8), np.zeros(2, np.int64)), 10, "digits")
