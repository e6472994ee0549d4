"""The handwritten digits that scikit-learn contains. This data set is always available without a download."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from decloud_pl.data.reader import CatalogSource
from decloud_pl.data.source import ImageSplit, SplitName, part_of

_SIZE = 8
_FILE = Path("datasets", "data", "digits.csv.gz")


class Digits(CatalogSource):
    """1,797 images of 8×8 pixels in ten classes. A fifth of each class is the test split.

    Source: https://archive.ics.uci.edu/dataset/80, as included in scikit-learn.
    """

    def __init__(self, entry: Mapping[str, Any] | str = "digits", **place: Any) -> None:
        super().__init__(entry, **place)

    def load(self, split: SplitName) -> ImageSplit:
        rows = _rows()
        images = np.round(rows[:, :-1].reshape(-1, _SIZE, _SIZE) * (255 / 16)).astype(np.uint8)
        return part_of(ImageSplit(images, rows[:, -1].astype(np.int64)), split)


@cache
def _rows() -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return an array with one row per image: 64 pixel values from 0 to 16, and then the label."""
    # Kept, because a training reads two or three splits and parsing the file takes 30 ms. We avoid importing
    # scikit-learn, which takes longer than most trainings on this data set.
    package = find_spec("sklearn")
    folders = (package and package.submodule_search_locations) or ()
    for path in (Path(folder) / _FILE for folder in folders):
        if path.is_file():
            return np.loadtxt(path, delimiter=",")
    from sklearn.datasets import load_digits  # for versions that store the file elsewhere

    digits = load_digits()
    return np.column_stack((digits.data, digits.target))
