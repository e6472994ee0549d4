"""What a data set gives: three splits that never mix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from decloud_pl.errors import DatasetError

SplitName = Literal["train", "held_out", "test"]
HELD_OUT_SHARE = 0.1
HELD_OUT_SEED = 20_240_501


@dataclass(frozen=True, slots=True)
class Split:
    """Images (N, H, W) or (N, H, W, 3) as uint8, labels (N,) as int64."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> Split:
        return Split(self.images[indices], self.labels[indices])


class Source(Protocol):
    """A data set. The held-out part is taken from the training data and never overlaps it."""

    name: str
    num_classes: int

    def load(self, split: SplitName) -> Split:
        """One split.

        Raises:
            DatasetError: files that are missing, damaged or hold labels out of range.
        """
        ...


def hold_out(training: Split, split: SplitName) -> Split:
    """The ``train`` or the ``held_out`` part of the training data, always the same."""
    order = np.random.default_rng(HELD_OUT_SEED).permutation(len(training))
    count = max(1, round(len(training) * HELD_OUT_SHARE))
    return training.take(np.sort(order[:count] if split == "held_out" else order[count:]))


def check_labels(split: Split, num_classes: int, name: str) -> Split:
    """The split itself when every label is a class.

    Raises:
        DatasetError: one is not.
    """
    if len(split.images) != len(split.labels):
        raise DatasetError(
            f"The data set {name} has {len(split.images)} images and {len(split.labels)} labels.",
            fix="Get its files again.",
        )
    if len(split) and not 0 <= int(split.labels.min()) <= int(split.labels.max()) < num_classes:
        raise DatasetError(
            f"The data set {name} has a label outside 0 to {num_classes - 1}.", fix="Get its files again."
        )
    return split
