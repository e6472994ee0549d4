"""Street View House Numbers from MATLAB files (http://ufldl.stanford.edu/housenumbers)."""

from __future__ import annotations

import zlib

import numpy as np

from decloud_pl.data.reader import ImageSource
from decloud_pl.data.source import ImageSplit
from decloud_pl.errors import DatasetError


class Svhn(ImageSource):
    """Color images (N, 32, 32, 3), like torchvision's ``SVHN``. The digit 0 has the label 0."""

    def read(self, *, test: bool) -> ImageSplit:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError

        path = self.folder() / f"{'test' if test else 'train'}_32x32.mat"
        try:
            content = loadmat(path, variable_names=["X", "y"])
            images = np.ascontiguousarray(content["X"].transpose(3, 0, 1, 2))
            labels = content["y"].astype(np.int64).reshape(-1)
        except (OSError, KeyError, ValueError, TypeError, NotImplementedError, zlib.error, MatReadError) as error:
            raise DatasetError(f"{path} is damaged, or is not an SVHN file.", fix="Get the file again.") from error
        labels[labels == 10] = 0  # the files use 10 for the digit 0
        if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3):
            raise DatasetError(f"{path} does not contain images of 32×32 pixels.", fix="Get the file again.")
        return ImageSplit(images, labels)
