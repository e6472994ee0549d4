"""Real handwritten digits that come with scikit-learn: the data set that is always there."""

from __future__ import annotations

import numpy as np

from decloud_pl.data.source import ImageSplit, Kind, SplitName, hold_out

_TEST_SHARE = 0.2
_TEST_SEED = 7


class Digits:
    """1,797 images of 8×8 pixels, ten classes; a fifth of each class is the test split.

    Source: https://archive.ics.uci.edu/dataset/80, by way of ``sklearn.datasets.load_digits``.
    """

    name = "digits"
    kind: Kind = "image"
    num_classes = 10

    def load(self, split: SplitName) -> ImageSplit:
        from sklearn.datasets import load_digits

        bunch = load_digits()
        images = np.round(bunch.images * (255 / 16)).astype(np.uint8)
        everything = ImageSplit(images, bunch.target.astype(np.int64))
        in_test = np.zeros(len(everything), dtype=bool)
        random = np.random.default_rng(_TEST_SEED)
        for label in range(self.num_classes):
            members = np.flatnonzero(everything.labels == label)
            in_test[random.permutation(members)[: round(len(members) * _TEST_SHARE)]] = True
        if split == "test":
            return everything.take(np.flatnonzero(in_test))
        return hold_out(everything.take(np.flatnonzero(~in_test)), split)
