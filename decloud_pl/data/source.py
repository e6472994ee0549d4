"""What a data set gives: three splits that never mix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from decloud_pl.data.image_files import ImageFiles
from decloud_pl.errors import DatasetError

Kind = Literal["image", "text"]
SplitName = Literal["train", "held_out", "test"]
HELD_OUT_SHARE = 0.1
HELD_OUT_SEED = 20_240_501


@dataclass(frozen=True, slots=True)
class ImageSplit:
    """Images (N, H, W) or (N, H, W, 3) as uint8, or N image files; labels (N,) as int64."""

    images: NDArray[np.uint8] | ImageFiles
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> ImageSplit:
        return ImageSplit(self.images[indices], self.labels[indices])


@dataclass(frozen=True, slots=True)
class TextSplit:
    """N texts, labels (N,) as int64."""

    texts: tuple[str, ...]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> TextSplit:
        return TextSplit(tuple(self.texts[index] for index in indices), self.labels[indices])


Split = ImageSplit | TextSplit
_S = TypeVar("_S", ImageSplit, TextSplit)


class Source(Protocol):
    """A data set. The held-out part is taken from the training data and never overlaps it."""

    name: str
    kind: Kind
    num_classes: int

    def load(self, split: SplitName) -> Split:
        """One split, of the class that ``kind`` says.

        Raises:
            DatasetError: files that are missing, damaged or hold labels out of range.
        """
        ...


def hold_out(training: _S, split: SplitName) -> _S:
    """The ``train`` or the ``held_out`` part of the training data, always the same."""
    order = np.random.default_rng(HELD_OUT_SEED).permutation(len(training))
    count = max(1, round(len(training) * HELD_OUT_SHARE))
    return training.take(np.sort(order[:count] if split == "held_out" else order[count:]))


def check_labels(split: _S, num_classes: int, name: str) -> _S:
    """The split itself when there is one label for each sample and every label is a class.

    Raises:
        DatasetError: it is not so.
    """
    samples = len(split.images) if isinstance(split, ImageSplit) else len(split.texts)
    if samples != len(split.labels):
        raise DatasetError(
            f"The data set {name} has {samples} {'images' if isinstance(split, ImageSplit) else 'texts'} and "
            f"{len(split.labels)} labels.",
            fix="Get its files again.",
        )
    if len(split) and not 0 <= int(split.labels.min()) <= int(split.labels.max()) < num_classes:
        raise DatasetError(
            f"The data set {name} has a label outside 0 to {num_classes - 1}.", fix="Get its files again."
        )
    return split
