"""The interface of a data set: three splits that never overlap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from decloud_pl.data.formats.image_files import ImageFiles
from decloud_pl.errors import DatasetError

Kind = Literal["image", "text"]
SplitName = Literal["train", "held_out", "test"]
HELD_OUT_SHARE = 0.1
HELD_OUT_BYTES = 2 << 30
"""The held-out part may take this much memory, or fit.data_memory_mb if that is more. It is never streamed."""
HELD_OUT_SEED = 20_240_501
TEST_SHARE = 0.2
TEST_SEED = 7
_LEAST_TRAINING = 2


@dataclass(frozen=True, slots=True)
class ImageSplit:
    """Images (N, H, W) or (N, H, W, 3) as uint8, or N image files, and labels (N,) as int64."""

    images: NDArray[np.uint8] | ImageFiles
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> ImageSplit:
        return ImageSplit(self.images[indices], self.labels[indices])


@dataclass(frozen=True, slots=True)
class TextSplit:
    """N texts, and labels (N,) as int64."""

    texts: tuple[str, ...]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> TextSplit:
        return TextSplit(tuple(self.texts[index] for index in indices), self.labels[indices])


Split = ImageSplit | TextSplit
_S = TypeVar("_S", ImageSplit, TextSplit)


class Source(Protocol):
    """A data set. The held-out part comes from the training data, and the train split excludes it."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> Kind: ...

    @property
    def num_classes(self) -> int: ...

    @property
    def test_samples(self) -> int | None:
        """Number of samples that validators score on; None if unknown without reading the files."""
        ...

    def load(self, split: SplitName) -> Split:
        """Return one split, an `ImageSplit` or a `TextSplit` depending on ``kind``.

        Raises:
            DatasetError: a file is missing or damaged, or has a label out of range.
        """
        ...


def hold_out(training: _S, split: SplitName) -> _S:
    """Return the ``train`` or the ``held_out`` part of the training data. Each call divides the data in the same way.

    Raises:
        DatasetError: there are too few samples for two parts.
    """
    if len(training) < _LEAST_TRAINING:
        raise DatasetError(
            f"There are too few training samples ({len(training)}).",
            fix=f"Add samples until there are at least {_LEAST_TRAINING}, because at least one is held out.",
        )
    order = np.random.default_rng(HELD_OUT_SEED).permutation(len(training))
    count = max(1, round(len(training) * HELD_OUT_SHARE))
    return training.take(np.sort(order[:count] if split == "held_out" else order[count:]))


def part_of(everything: _S, split: SplitName) -> _S:
    """Divide data that has no splits, and return one split. The test split is always the same fifth of each class.

    Raises:
        DatasetError: there are too few samples for three parts.
    """
    in_test = np.zeros(len(everything), dtype=bool)
    random = np.random.default_rng(TEST_SEED)
    for label in np.unique(everything.labels):
        members = np.flatnonzero(everything.labels == label)
        in_test[random.permutation(members)[: round(len(members) * TEST_SHARE)]] = True
    if not in_test.any():
        raise DatasetError(
            f"There are too few samples ({len(everything)}) for a test split.",
            fix="Add samples until one class has at least three, or add a separate test split.",
        )
    if split == "test":
        return everything.take(np.flatnonzero(in_test))
    return hold_out(everything.take(np.flatnonzero(~in_test)), split)


def highest(labels: NDArray[np.int64]) -> int:
    """Return the number of classes: the highest label plus 1, or 0 without labels."""
    return int(labels.max()) + 1 if len(labels) else 0


def check_labels(split: _S, num_classes: int, name: str) -> _S:
    """Check that a split has samples, each with a label from 0 to ``num_classes`` - 1. Return the split.

    Raises:
        DatasetError: the split is empty, the numbers of samples and labels differ, or a label is out of range.
    """
    kind = "images" if isinstance(split, ImageSplit) else "texts"
    samples = len(split.images) if isinstance(split, ImageSplit) else len(split.texts)
    if samples != len(split.labels):
        raise DatasetError(
            f"The data set {name} has {samples} {kind} but {len(split.labels)} labels.", fix="Get its files again."
        )
    if not samples:
        raise DatasetError(f"The data set {name} has a split without {kind}.", fix="Get its files again.")
    low, high = int(split.labels.min()), int(split.labels.max())
    if low < 0 or high >= num_classes:
        raise DatasetError(
            f"The data set {name} has the label {low if low < 0 else high}, outside 0 to {num_classes - 1}.",
            fix=f"Correct its labels, or map {name} to another data set with mappings.{name}=NAME.",
        )
    return split
