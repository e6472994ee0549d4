"""CIFAR-10 and CIFAR-100 from their pickled batches (https://www.cs.toronto.edu/~kriz/cifar.html)."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decloud_pl.data.reader import ImageSource
from decloud_pl.data.source import ImageSplit
from decloud_pl.errors import DatasetError

# The functions that a pickled array refers to, under NumPy's old and new names, and the one for Python 2's strings.
_HARMLESS = {
    (module, name)
    for package in ("numpy.core", "numpy._core")
    for module, name in ((f"{package}.multiarray", "_reconstruct"), (f"{package}.numeric", "_frombuffer"))
} | {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}


# The unpickler raises different errors depending on the damage. An array may claim to be larger than memory.
_DAMAGE = (
    OSError,
    EOFError,
    pickle.UnpicklingError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    MemoryError,
    RecursionError,
)


class Cifar(ImageSource):
    """Color images (N, 32, 32, 3), like torchvision's ``CIFAR10`` and ``CIFAR100``.

    ``train`` and ``test`` are the file names of the batches. ``labels`` is the key of a batch's labels. For the other
    arguments see `CatalogSource`.
    """

    def __init__(
        self,
        entry: Mapping[str, Any] | str,
        *,
        train: Sequence[str],
        test: Sequence[str],
        labels: str,
        **place: Any,
    ) -> None:
        super().__init__(entry, **place)
        self._train, self._test = train, test
        self._labels = labels

    def read(self, *, test: bool) -> ImageSplit:
        folder = self.folder()
        batches = [_read(folder / name, self._labels) for name in (self._test if test else self._train)]
        images = np.concatenate([pixels for pixels, _ in batches])
        labels = np.concatenate([labels for _, labels in batches])
        return ImageSplit(images, labels)


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that can only make arrays, because the file may come from anyone."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return super().find_class(module, name)


def _read(path: Path, key: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        with path.open("rb") as file:
            batch = _ArraysOnly(file, encoding="latin1").load()
        pixels = np.asarray(batch["data"], np.uint8).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(pixels), np.asarray(batch[key], np.int64)
    except _DAMAGE as error:
        raise DatasetError(
            f"{path} is damaged, or is not a CIFAR batch. No code in it was run.", fix="Get the file again."
        ) from error
