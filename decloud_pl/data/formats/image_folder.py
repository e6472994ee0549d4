"""Images in one folder per class, like in torchvision's ``ImageFolder``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from decloud_pl.data.formats.image_files import SUFFIXES, ImageFiles
from decloud_pl.data.formats.names import as_class, is_hidden, visible
from decloud_pl.data.source import ImageSplit, Kind
from decloud_pl.errors import DatasetError

_TRAIN = ("train", "training")
_TEST = ("test", "testing", "val", "valid", "validation")


@dataclass(frozen=True)
class ImageFolder:
    """Images in class folders. The parts are ``train`` and ``test``, or ``all``.

    Attributes:
        parts: for each part, the folder that contains the class folders.
        classes: the label of each class name, in the order of the labels. If every class name in the training part is a
            whole number, the label is the number minus the first label. Otherwise, the label is the position of the
            name in the alphabetical list of the training part's class names, from 0.
    """

    parts: dict[str, Path]
    classes: dict[str, int]
    kind: ClassVar[Kind] = "image"

    def count_classes(self) -> int:
        return max(self.classes.values()) + 1

    def split(self, part: str) -> ImageSplit:
        """Return the image files and the labels of one part.

        Raises:
            DatasetError: the part has a class that is not in ``classes``.
        """
        paths: list[Path] = []
        labels: list[int] = []
        for folder in _class_folders(self.parts[part]):
            name = as_class(folder.name)
            if name not in self.classes:
                raise DatasetError(
                    f"{folder} has test images of the class {name}, which has no training images.",
                    fix="Give the folder the name of a class in the training data, or remove it.",
                )
            images = _images(folder)
            paths += images
            labels += [self.classes[name]] * len(images)
        return ImageSplit(ImageFiles(tuple(paths)), np.array(labels, np.int64))


def find(path: Path, first_label: int | None = None) -> ImageFolder | None:
    """Return the class folders at a path, or None if there are none.

    Args:
        path: a folder with the class folders or with the folders of the parts. They can also be further down, if each
            folder on the way to them contains only one folder with images.
        first_label: the number that stands for the first class, if the folders' names are numbers. None means 0.

    Raises:
        DatasetError: this user cannot read a folder. With ``first_label``: the folders' names are not numbers, or a
            number is less than ``first_label``. Without ``first_label``: the lowest number is above 0.
    """
    parts = _parts(path) if path.is_dir() else None
    if parts is None:
        return None
    names = {part: [as_class(inside.name) for inside in _class_folders(folder)] for part, folder in parts.items()}
    training = next(iter(names.values()))
    if all(map(_is_number, training)):
        numbers = [name for part in names.values() for name in part if _is_number(name)]
        return ImageFolder(parts, _numbered(path, numbers, first_label))
    if first_label is not None:
        raise DatasetError(
            f"The class folders in {path} are not numbers, so ?first_label={first_label} does not apply.",
            fix="Remove ?first_label from the path.",
        )
    return ImageFolder(parts, {name: label for label, name in enumerate(sorted(set(training)))})


def _parts(path: Path) -> dict[str, Path] | None:
    path = _unwrapped(path)
    inside = {folder.name.lower(): folder for folder in visible(path.iterdir(), path) if folder.is_dir()}
    train = next((inside[name] for name in _TRAIN if name in inside), None)
    if train is not None and _class_folders(train):
        test = next((inside[name] for name in _TEST if name in inside and _class_folders(inside[name])), None)
        parts = {"all": train} if test is None else {"train": train, "test": test}
        return {part: _unwrapped(folder) for part, folder in parts.items()}
    return {"all": path} if _class_folders(path) else None


def _unwrapped(path: Path) -> Path:
    """Return the folder with the class folders: ``path``, or a folder in it. Archives often add an outer folder."""
    while len(folders := _class_folders(path)) == 1:
        (lone,) = folders
        if any(file.suffix.lower() in SUFFIXES for file in visible(lone.iterdir(), lone)):
            break
        path = lone
    return path


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal()


def _numbered(path: Path, names: Iterable[str], first_label: int | None) -> dict[str, int]:
    found = {name: int(name) for name in sorted(names, key=int)}
    low, high = min(found.values()), max(found.values())
    if low > 0 and first_label is None:
        raise DatasetError(
            f"The class folders in {path} are numbers from {low} to {high}, but labels start at 0.",
            fix=f"Append ?first_label={low} to the path if {low} is the first class. If the classes below {low} "
            "exist but lack images, append ?first_label=0.",
        )
    if low < (first_label or 0):
        raise DatasetError(
            f"{path} has a class folder {low}, but ?first_label={first_label} says that labels start at {first_label}.",
            fix="Correct the folder's name or ?first_label.",
        )
    return {name: number - (first_label or 0) for name, number in found.items()}


def _class_folders(path: Path) -> list[Path]:
    return [folder for folder in visible(path.iterdir(), path) if folder.is_dir() and _has_image(folder)]


def _has_image(folder: Path) -> bool:
    return any(path.suffix.lower() in SUFFIXES for path in _inside(folder))


def _images(folder: Path) -> list[Path]:
    return [path for path in sorted(_inside(folder)) if path.suffix.lower() in SUFFIXES and path.is_file()]


def _inside(folder: Path) -> Iterator[Path]:
    """Yield the path of every file below a folder, except hidden files and files in hidden folders.

    Raises:
        DatasetError: this user cannot read a folder. To skip it would leave out images or a whole class.
    """

    def refuse(error: OSError) -> None:
        raise DatasetError(
            f"Cannot read {error.filename}: {error.strerror}.", fix="Give this user read access, or remove the folder."
        ) from error

    for here, below, names in os.walk(folder, onerror=refuse):
        below[:] = [name for name in below if not is_hidden(name)]
        for name in names:
            if not is_hidden(name):
                yield Path(here, name)
