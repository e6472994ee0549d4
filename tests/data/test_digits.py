"""The embedded digits, and the rules for splits and labels that all data sets follow."""

from __future__ import annotations

import numpy as np
import pytest

from decloud_pl.data.catalog import entry, names
from decloud_pl.data.formats.digits import Digits
from decloud_pl.data.source import ImageSplit, TextSplit, check_labels, hold_out, part_of
from decloud_pl.errors import DatasetError


def test_the_whole_scale_of_the_pixels_is_used() -> None:
    splits = {name: Digits().load(name) for name in ("train", "held_out", "test")}
    assert {name: len(split) for name, split in splits.items()} == {"train": 1294, "held_out": 144, "test": 359}
    test = splits["test"]
    assert isinstance(test.images, np.ndarray)
    assert test.images.shape[1:] == (8, 8)
    assert test.images.max() == 255


def test_they_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits  # its import takes a second

    digits = load_digits()
    splits = [Digits().load(name) for name in ("train", "held_out", "test")]
    images = np.concatenate([np.asarray(split.images) for split in splits])
    labels = np.concatenate([split.labels for split in splits])
    assert np.bincount(labels).tolist() == np.bincount(digits.target).tolist()
    ours = {(label, image.tobytes()) for label, image in zip(labels.tolist(), images, strict=True)}
    theirs = np.round(digits.images * (255 / 16)).astype(np.uint8)
    assert ours == {(label, image.tobytes()) for label, image in zip(digits.target.tolist(), theirs, strict=True)}


@pytest.mark.parametrize(("labels", "wrong"), [([0, 10], 10), ([-1, 0], -1)])
def test_a_label_out_of_range_is_named(labels: list[int], wrong: int) -> None:
    split = ImageSplit(np.zeros((2, 8, 8), np.uint8), np.array(labels, np.int64))
    with pytest.raises(DatasetError, match=rf"the label {wrong}, outside 0 to 9\. .*mappings\.digits=NAME"):
        check_labels(split, 10, "digits")


def test_samples_and_labels_must_be_as_many() -> None:
    with pytest.raises(DatasetError, match="3 images but 2 labels"):
        check_labels(ImageSplit(np.zeros((3, 8, 8), np.uint8), np.zeros(2, np.int64)), 10, "digits")
    with pytest.raises(DatasetError, match="1 texts but 2 labels"):
        check_labels(TextSplit(("a",), np.zeros(2, np.int64)), 10, "imdb")
    with pytest.raises(DatasetError, match="a split without texts"):
        check_labels(TextSplit((), np.zeros(0, np.int64)), 10, "imdb")


def test_data_without_splits_is_divided_class_by_class() -> None:
    labels = np.repeat(np.arange(3), [50, 10, 5]).astype(np.int64)
    whole = TextSplit(tuple(str(index) for index in range(65)), labels)
    splits = {name: part_of(whole, name) for name in ("train", "held_out", "test")}
    assert np.bincount(splits["test"].labels).tolist() == [10, 2, 1]
    texts = [text for split in splits.values() for text in split.texts]
    assert sorted(texts, key=int) == list(whole.texts)
    assert hold_out(whole, "held_out").texts == hold_out(whole, "held_out").texts


def test_it_says_how_many_samples_it_has_and_how_many_validators_score_on() -> None:
    digits = Digits()
    assert digits.test_samples == len(digits.load("test"))
    for one in map(entry, names()):
        assert one.size.startswith(f"{(one.train_samples or 0) + (one.test_samples or 0):,} ")
