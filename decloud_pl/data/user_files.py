"""A data set that only the user's files describe: class folders of images, NumPy arrays, or tables of texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl

import numpy as np

from decloud_pl.data.classes import check_classes, log_classes
from decloud_pl.data.formats import arrays, image_folder, tables
from decloud_pl.data.source import Kind, Split, SplitName, TextSplit, check_labels, highest, hold_out, part_of
from decloud_pl.errors import DatasetError, DatasetNotFound

TARGET = "decloud_pl.data.user_files.UserFiles"


@dataclass(frozen=True)
class TextTableFiles:
    """Tables of texts. ``parts`` maps ``train`` and ``test``, or ``all``, to the files of the tables."""

    parts: dict[str, tuple[Path, ...]]
    columns: tables.Columns
    kind: ClassVar[Kind] = "text"

    def count_classes(self) -> int:
        return len(self._words) or highest(self.split(self._training).labels)

    @property
    def classes(self) -> dict[str, int]:
        """Maps each class name to its label; empty if the labels in the files are numbers."""
        return {word: label for label, word in enumerate(self._words)}

    def check_columns(self) -> None:
        """Check that the first table of the training data has both columns. Read only its header.

        The test data may lack a column, because a training in a round does not read it.

        Raises:
            DatasetError: the table is damaged or lacks one of the columns.
        """
        tables.check_columns(self.parts[self._training][0], self.columns)

    def split(self, part: str) -> TextSplit:
        return self._table(part).split(self._words)

    @property
    def _training(self) -> str:
        return next(iter(self.parts))

    @cached_property
    def _words(self) -> list[str]:
        """The words that label the training data; empty if the labels are numbers. A word's position is its label."""
        return self._table(self._training).words()

    def _table(self, part: str) -> tables.TextTable:
        if part not in self._tables:
            self._tables[part] = tables.read(self.parts[part], self.columns)
        return self._tables[part]

    @cached_property
    def _tables(self) -> dict[str, tables.TextTable]:
        return {}


Layout = image_folder.ImageFolder | arrays.Arrays | TextTableFiles
"""The content of a path, by part: ``train`` and ``test``, or ``all``."""


def path_of(given: str) -> Path:
    """Return the path without its query."""
    return Path(_split_query(given)[0]).expanduser()


def has_query(given: str) -> bool:
    """Return whether a path has a query, which says how to read the user's own files."""
    return bool(_split_query(given)[1])


def check_exists(name: str, path: Path) -> None:
    """Check that a user's path exists.

    Raises:
        DatasetNotFound: the path does not exist, or this user has no access.
    """
    reason = f"The path of the data set {name} does not exist: {path}."
    try:
        is_there = path.exists()
    except OSError as error:  # no access to a parent folder, or the name is too long
        is_there, reason = False, f"{path}, the path of the data set {name}, cannot be read: {error.strerror}."
    if not is_there:
        raise DatasetNotFound(reason, fix=f"Correct paths.{name}.")


def detect(name: str, given: str, num_classes: int | None = None) -> Layout:
    """Find out which layout the files at a path have. Read only the names of files and arrays, not their data.

    Args:
        name: the user's name for the data set.
        given: the path, with an optional query.
        num_classes: required number of classes; None for any number.

    Raises:
        DatasetNotFound: the path does not exist.
        DatasetError: the path has no supported data, or the number of class folders is not ``num_classes``.
    """
    where, query = _split_query(given)
    path = Path(where).expanduser()
    check_exists(name, path)
    try:
        found = (
            arrays.find(path)
            or image_folder.find(path, _first_label(query))
            or _find_tables(path, tables.Columns(query.get("text"), query.get("label")))
        )
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}.", fix=f"Correct paths.{name}.") from error
    if found is None:
        raise DatasetError(
            f"{path} has no supported data set.",
            fix=f"Set paths.{name} to class folders of images, .npz or .npy arrays, or parquet, CSV or JSONL tables of "
            "texts. If the files are a catalog data set in torchvision's layout, use its catalog name, for example "
            "paths.cifar10.",
        )
    if isinstance(found, image_folder.ImageFolder):
        check_classes(name, path, found.classes, set(found.classes.values()), num_classes)
    return found


def _find_tables(path: Path, columns: tables.Columns) -> TextTableFiles | None:
    everything = tables.all_tables(path)
    if not everything:
        return None
    if path.is_dir() and (train := tables.find(path, tables.TRAIN_WORD)):
        test = next((found for word in tables.TEST_WORDS if (found := tables.find(path, word))), ())
        return TextTableFiles({"train": train, "test": test} if test else {"all": train}, columns)
    return TextTableFiles({"all": everything}, columns)


class UserFiles:
    """The data set at a path.

    Args:
        name: the user's name for the data set.
        root: the path. After ``?`` it may name a table's columns, as in ``reviews.csv?text=review&label=stars``, or the
            number that stands for the first class, as in ``digits?first_label=1``.
        num_classes: required number of classes; None to count the classes in the files.
    """

    def __init__(self, name: str, root: str, num_classes: int | None = None) -> None:
        self.name = name
        self._root = root
        self._layout = detect(name, root, num_classes)
        self._num_classes = num_classes
        self.test_samples: int | None = None

    @property
    def kind(self) -> Kind:
        return self._layout.kind

    @cached_property
    def num_classes(self) -> int:
        """The declared number of classes, or else the number of classes in the files."""
        if self._num_classes is not None:
            return self._num_classes
        return self._layout.count_classes() - (0 if self._is_folder else self._first_label or 0)

    def load(self, split: SplitName) -> Split:
        """Return one split; see `Source.load`."""
        is_whole = "all" in self._layout.parts
        part = "all" if is_whole else "test" if split == "test" else "train"
        loaded: Any = self._layout.split(part)  # of either kind
        if not self._is_folder:
            loaded = self._from_first(loaded, is_training=part != "test")
        checked: Any = check_labels(loaded, self.num_classes, self.name)
        if part == "test":
            return checked  # type: ignore[no-any-return]
        taken: Any = part_of(checked, split) if is_whole else hold_out(checked, split)
        labels = set(np.unique(checked.labels).tolist())
        path, classes = path_of(self._root), self._layout.classes
        check_classes(self.name, path, classes, labels, self._num_classes)
        if split == "train":
            log_classes(self.name, path, classes, labels, self.num_classes)
        return taken  # type: ignore[no-any-return]

    @property
    def _is_folder(self) -> bool:
        """Whether the files are in class folders. If so, the labels already start at 0."""
        return isinstance(self._layout, image_folder.ImageFolder)

    @property
    def _first_label(self) -> int | None:
        return _first_label(_split_query(self._root)[1])

    def _from_first(self, loaded: Any, *, is_training: bool) -> Any:
        """Return the same samples with ``first_label`` subtracted from their labels.

        Raises:
            DatasetError: the path has a ``first_label``, but the labels are words. Or the path has no ``first_label``,
                but the training labels start above 0.
        """
        first = self._first_label
        low = int(loaded.labels.min()) if len(loaded.labels) else 0
        if first is None and low > 0 and is_training:
            raise DatasetError(
                f"The labels of {path_of(self._root)} are numbers from {low} to {int(loaded.labels.max())}. "
                f"It is unclear whether {low} is the first class.",
                fix=f"Append ?first_label={low} to the path if it is. "
                f"If classes below {low} exist but have no samples in these files, append ?first_label=0.",
            )
        if first is not None and self._layout.classes:
            raise DatasetError(
                f"The labels of {path_of(self._root)} are words, so ?first_label={first} does not apply.",
                fix="Remove ?first_label from the path.",
            )
        return replace(loaded, labels=loaded.labels - first) if first else loaded


def _first_label(query: Mapping[str, str]) -> int | None:
    given = query.get("first_label")
    if given is None:
        return None
    if not (given.isascii() and given.isdecimal()):
        raise DatasetError(
            f"?first_label={given} is not a whole number.", fix="Set it to the number that stands for the first class."
        )
    return int(given)


def _split_query(given: str) -> tuple[str, dict[str, str]]:
    path, mark, text = given.rpartition("?")
    query = dict(parse_qsl(text)) if mark else {}
    if not query or not set(query) <= {"text", "label", "first_label"}:
        return given, {}
    return path, query
