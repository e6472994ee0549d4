"""Real handwritten digits that come with scikit-learn: the data set that is always there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from decloud_pl.data.reader import CatalogSource
from decloud_pl.data.source import ImageSplit, SplitName, part_of


class Digits(CatalogSource):
    """1,797 images of 8×8 pixels, ten classes; a fifth of each class is the test split.

    Source: https://archive.ics.uci.edu/dataset/80, by way of ``sklearn.datasets.load_digits``.
    """

    def __init__(self, entry: Mapping[str, Any] | str = "digits", **place: Any) -> None:
        super().__init__(entry, **place)

    def load(self, split: SplitName) -> ImageSplit:
        from sklearn.datasets import load_digits

        bunch = load_digits()
        images = np.round(bunch.images * (255 / 16)).astype(np.uint8)
        return part_of(ImageSplit(images, bunch.target.astype(np.int64)), split)
