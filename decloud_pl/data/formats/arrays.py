"""Images and labels in NumPy files: one ``.npz``, or a folder of ``.npy`` files."""

from __future__ import annotations

import re
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from decloud_pl.data.formats.names import is_hidden, visible
from decloud_pl.data.source import ImageSplit, Kind, highest
from decloud_pl.errors import DatasetError

# NumPy and zipfile raise these for damaged files. A header may claim an array that is too large for memory, or a number
# that is too large for an integer. An encrypted archive raises a RuntimeError.
_DAMAGE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    OverflowError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)

_IMAGES = {"x", "image", "images", "data", "pixels"}
_LABELS = {"y", "label", "labels", "target", "targets"}
_ROLES = ("images", "labels")
_PARTS = {"train": {"train", "training"}, "test": {"test"}, "val": {"val", "valid", "validation", "dev"}}

Key = tuple[str, str]
"""The part (``train``, ``test``, ``val`` or ``all``) and the role (``images`` or ``labels``)."""


@dataclass(frozen=True)
class Arrays:
    """Images and labels in NumPy files.

    ``names`` maps a part and a role, such as ``("train", "images")``, to the name of an array in ``path``. Only `split`
    and `count_classes` read the arrays themselves.
    """

    path: Path
    names: dict[Key, str]
    kind: ClassVar[Kind] = "image"

    @property
    def classes(self) -> dict[str, int]:
        """Always empty, because NumPy files contain no class names."""
        return {}

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts: ``("train", "test")`` or ``("all",)``."""
        return ("all",) if ("test", "images") not in self.names else ("train", "test")

    def count_classes(self) -> int:
        return highest(self._labels(self.parts[0]))

    def _labels(self, part: str) -> NDArray[np.int64]:
        labels = self._read(self.names[part, "labels"])
        if labels.dtype.kind not in "iub" or labels.ndim not in (1, 2) or labels.size != len(labels):
            raise DatasetError(
                f"The labels in {self.path} have type {labels.dtype} and shape {labels.shape}.",
                fix="Save them as whole numbers of shape (N,).",
            )
        return labels.reshape(-1).astype(np.int64)

    def split(self, part: str) -> ImageSplit:
        """Read the images and the labels of one part.

        Raises:
            DatasetError: a file is damaged, or its arrays are not images and labels.
        """
        return ImageSplit(self._images(self.names[part, "images"]), self._labels(part))

    def _images(self, name: str) -> NDArray[np.uint8]:
        images = self._read(name)
        if images.ndim == 4 and images.shape[-1] not in (1, 3) and images.shape[1] in (1, 3):
            images = images.transpose(0, 2, 3, 1)
        if images.ndim == 4 and images.shape[-1] == 1:
            images = images[..., 0]
        if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[-1] != 3) or not images.size:
            raise DatasetError(
                f"{name} in {self.path} has the shape {images.shape}.",
                fix="Save the images with shape (N, H, W), (N, H, W, 3) or (N, 3, H, W).",
            )
        if images.dtype.kind == "f" and float(images.min()) >= 0 and float(images.max()) <= 1:
            scaled: NDArray[np.uint8] = np.rint(images * 255).astype(np.uint8)
            return scaled
        if images.dtype.kind in "iuf" and float(images.min()) >= 0 and float(images.max()) <= 255:
            return images.astype(np.uint8, copy=False)
        raise DatasetError(
            f"{name} in {self.path} has values that are not pixels.", fix="Use values from 0 to 255, or 0.0 to 1.0."
        )

    def _read(self, name: str) -> NDArray[np.generic]:
        """Read one array. Refuse an array of Python objects, because loading it would run its pickled code."""
        try:
            if self.path.is_dir():
                if not (self.path / name).is_file():  # reading a named pipe would never end
                    raise ValueError(name)
                return _array(np.load(self.path / name, allow_pickle=False))
            with np.load(self.path, allow_pickle=False) as archive:
                return _array(archive[name])
        except _DAMAGE as error:
            raise DatasetError(
                f"{name} in {self.path} is damaged, or is not a NumPy array of numbers.", fix="Save it again."
            ) from error


def find(path: Path) -> Arrays | None:
    """Return the arrays at a path, or None if the path has no images with labels.

    If a folder contains only one folder and no files, look inside that folder instead. If a folder contains exactly one
    ``.npz`` file, read that file. Otherwise read the folder's ``.npy`` files.

    Raises:
        DatasetError: an ``.npz`` file is damaged.
    """
    path = _unwrapped(path)
    packed = visible(path.glob("*.npz"), path) if path.is_dir() else []
    path = packed[0] if len(packed) == 1 else path
    names = _names(path)
    return Arrays(path, names) if _is_whole(names) else None


def _unwrapped(path: Path) -> Path:
    while path.is_dir() and len(inside := visible(path.iterdir(), path)) == 1 and inside[0].is_dir():
        path = inside[0]
    return path


def _names(path: Path) -> dict[Key, str]:
    if path.is_dir():
        return _sort_out([file.name for file in visible(path.glob("*.npy"), path)], lambda name: Path(name).stem)
    if path.suffix.lower() != ".npz" or not path.is_file():
        return {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = [
                name.removesuffix(".npy") for name in archive.namelist() if not any(map(is_hidden, name.split("/")))
            ]
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path} is damaged, or is not an .npz file.", fix="Save it again.") from error
    return _sort_out(members, str)


def _sort_out(names: list[str], stem: Callable[[str], str]) -> dict[Key, str]:
    found: dict[Key, str] = {}
    for name in names:
        words = set(re.split(r"[^a-z]+", re.sub(r"\d+", "", stem(name).lower())))
        role = "images" if words & _IMAGES else "labels" if words & _LABELS else ""
        part = next((part for part, marks in _PARTS.items() if words & marks), "all")
        if role:
            found.setdefault((part, role), name)
    # Images of one part must never get the labels of the other.
    if not _has_both(found, "test") and _has_both(found, "val"):
        found.update({("test", role): found["val", role] for role in _ROLES})
    return found


def _is_whole(names: dict[Key, str]) -> bool:
    if _has_both(names, "train") and _has_both(names, "test"):
        return True
    for part in ("all", "train"):
        if _has_both(names, part):
            names.update({("all", role): names[part, role] for role in _ROLES})
            names.pop(("test", "images"), None)
            return True
    return False


def _has_both(names: dict[Key, str], part: str) -> bool:
    return all((part, role) in names for role in _ROLES)


def _array(value: object) -> NDArray[np.generic]:
    if not isinstance(value, np.ndarray):
        raise ValueError(type(value).__name__)  # noqa: TRY004  # `_read` treats it as damage
    return value
