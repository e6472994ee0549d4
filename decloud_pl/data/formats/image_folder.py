"""Images in one folder per class, as torchvision's ``ImageFolder`` has them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from decloud_pl.data.formats.image_files import SUFFIXES, ImageFiles
from decloud_pl.data.source import ImageSplit, Kind
from decloud_pl.errors import DatasetError

_TRAIN = ("train", "training")
_TEST = ("test", "testing", "val", "valid", "validation")


@dataclass(frozen=True)
class ImageFolder:
    """Class folders, by part: ``train`` and ``test``, or ``all``."""

    parts: dict[str, Path]
    classes: tuple[str, ...]
    kind: ClassVar[Kind] = "image"

    def count_classes(self) -> int:
        return len(self.classes)

    def split(self, part: str) -> ImageSplit:
        """One part.

        Raises:
            DatasetError: a class that the training part does not have.
        """
        number = {name: index for index, name in enumerate(self.classes)}
        paths: list[Path] = []
        labels: list[int] = []
        for folder in _class_folders(self.parts[part]):
            if folder.name not in number:
                raise DatasetError(
                    f"{folder} is a class that the training images do not have.", fix="Rename it or take it away."
                )
            images = _images(folder)
            paths += images
            labels += [number[folder.name]] * len(images)
        return ImageSplit(ImageFiles(tuple(paths)), np.array(labels, np.int64))


def find(path: Path) -> ImageFolder | None:
    """The class folders at a path, None where there are none."""
    if not path.is_dir():
        return None
    inside = {folder.name.lower(): folder for folder in sorted(path.iterdir()) if folder.is_dir()}
    train = next((inside[name] for name in _TRAIN if name in inside), None)
    if train is not None and _class_folders(train):
        test = next((inside[name] for name in _TEST if name in inside and _class_folders(inside[name])), None)
        parts = {"all": train} if test is None else {"train": train, "test": test}
        return ImageFolder(parts, tuple(folder.name for folder in _class_folders(train)))
    folders = _class_folders(path)
    return ImageFolder({"all": path}, tuple(folder.name for folder in folders)) if folders else None


def _class_folders(path: Path) -> list[Path]:
    return [folder for folder in sorted(path.iterdir()) if folder.is_dir() and _has_image(folder)]


def _has_image(folder: Path) -> bool:
    return any(path.suffix.lower() in SUFFIXES for path in _inside(folder))


def _images(folder: Path) -> list[Path]:
    return [path for path in sorted(_inside(folder)) if path.suffix.lower() in SUFFIXES and path.is_file()]


def _inside(folder: Path) -> Iterator[Path]:
    """Everything below a folder.

    Raises:
        DatasetError: a folder that this user may not read. Its images would be missing, or its whole class.
    """

    def refuse(error: OSError) -> None:
        raise DatasetError(
            f"{error.filename} cannot be read: {error.strerror}.", fix="Let this user read it or take it away."
        ) from error

    for here, _, names in os.walk(folder, onerror=refuse):
        for name in names:
            yield Path(here, name)
