"""Fashion-MNIST from its IDX files, plain or gzipped."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from decloud_pl.data.catalog import ENTRIES
from decloud_pl.data.source import ImageSplit, Kind, SplitName, check_labels, hold_out
from decloud_pl.errors import DatasetError, DatasetNotFound

_UNSIGNED_BYTE = 0x08
_MOST_BYTES = 1 << 30


class FashionMnist:
    """60,000 training and 10,000 test images of 28×28 pixels, ten classes.

    Args:
        root: a data folder (``FashionMNIST/raw`` below it), or the folder of the files themselves; None looks
            where distributions put them.
    """

    name = "fashionmnist"
    kind: Kind = "image"
    num_classes = 10

    def __init__(self, root: str | None = None) -> None:
        self._roots = () if root is None else (Path(root).expanduser(),)

    def load(self, split: SplitName) -> ImageSplit:
        folder = ENTRIES[self.name].locate(self._roots)
        if folder is None:
            raise DatasetNotFound(
                f"The files of the data set {self.name} are not on this machine.",
                fix=f"Set paths.{self.name} to the folder that holds them.",
            )
        part = "t10k" if split == "test" else "train"
        images = read_idx(folder / f"{part}-images-idx3-ubyte", dimensions=3)
        labels = read_idx(folder / f"{part}-labels-idx1-ubyte", dimensions=1).astype(np.int64)
        whole = check_labels(ImageSplit(images, labels), self.num_classes, self.name)
        return whole if split == "test" else hold_out(whole, split)


def read_idx(path: Path, *, dimensions: int) -> NDArray[np.uint8]:
    """An IDX file of bytes (http://yann.lecun.com/exdb/mnist), or the same with ``.gz``.

    Raises:
        DatasetError: missing, damaged, or not such a file.
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
        return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except (OSError, EOFError, zlib.error, struct.error, ValueError) as error:
        raise DatasetError(f"{path} is missing, truncated or damaged.", fix="Get the file again.") from error
