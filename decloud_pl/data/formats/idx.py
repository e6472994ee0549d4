"""Images in IDX files, plain or gzipped: the MNIST family."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decloud_pl.data.reader import ImageSource
from decloud_pl.data.source import ImageSplit
from decloud_pl.errors import DatasetError

_UNSIGNED_BYTE = 0x08
_MOST_BYTES = 1 << 30


class IdxImages(ImageSource):
    """Gray images (N, 28, 28), like torchvision's ``MNIST`` and its subclasses.

    ``train`` and ``test`` are the prefixes of the file names. For the other arguments see `CatalogSource`.
    """

    def __init__(
        self,
        entry: Mapping[str, Any] | str,
        *,
        train: str = "train",
        test: str = "t10k",
        **place: Any,
    ) -> None:
        super().__init__(entry, **place)
        self._train, self._test = train, test

    def read(self, *, test: bool) -> ImageSplit:
        folder, prefix = self.folder(), self._test if test else self._train
        images = read_idx(folder / f"{prefix}-images-idx3-ubyte", dimensions=3)
        labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte", dimensions=1).astype(np.int64)
        return ImageSplit(images, labels)


def read_idx(path: Path, *, dimensions: int) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes (http://yann.lecun.com/exdb/mnist). If it is missing, read ``path.gz``.

    Raises:
        DatasetError: the file is missing, damaged or in another format.
    """
    try:
        if path.is_file():
            data = path.read_bytes()
        else:
            with gzip.open(path.with_name(path.name + ".gz")) as file:
                data = file.read(_MOST_BYTES)
        magic, *shape = struct.unpack_from(f">I{dimensions}I", data)
        if magic != _UNSIGNED_BYTE << 8 | dimensions:
            raise DatasetError(f"{path} is not an IDX file of {dimensions} dimensions.", fix="Get the file again.")
        # We copy the array, because torch warns about arrays that are not writable.
        return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape).copy()
    except (OSError, EOFError, zlib.error, struct.error, ValueError) as error:
        raise DatasetError(f"{path} is missing, truncated or damaged.", fix="Get the file again.") from error
