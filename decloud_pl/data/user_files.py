"""A data set that only the user's files describe: class folders of images, NumPy arrays, or tables of texts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import parse_qsl

from decloud_pl.data.formats import arrays, image_folder, tables
from decloud_pl.data.source import (
    ImageSplit,
    Kind,
    Split,
    SplitName,
    TextSplit,
    check_labels,
    hold_out,
    part_of,
)
from decloud_pl.errors import DatasetError, DatasetNotFound

TARGET = "decloud_pl.data.user_files.UserFiles"
_TEST_WORDS = ("test", "validation", "valid", "val", "dev")


@dataclass(frozen=True)
class TextTableFiles:
    """Tables by part: ``train`` and ``test``, or ``all``."""

    parts: dict[str, tuple[Path, ...]]


Layout = image_folder.ImageFolder | arrays.Arrays | TextTableFiles


@dataclass(frozen=True)
class Detected:
    """What a path holds."""

    kind: Kind
    layout: Layout


def path_of(given: str) -> Path:
    """The path without the columns that may follow it."""
    return Path(_split_columns(given)[0]).expanduser()


def check_exists(name: str, path: Path) -> None:
    """Checks that something is at a user's path.

    Raises:
        DatasetNotFound: nothing is, or this user may not look.
    """
    reason = f"There is no {path}, the path of the data set {name}."
    try:
        is_there = path.exists()
    except OSError as error:  # a folder above that may not be looked into, a name that is too long
        is_there, reason = False, f"{path}, the path of the data set {name}, cannot be read: {error.strerror}."
    if not is_there:
        raise DatasetNotFound(reason, fix=f"Correct paths.{name}.")


def detect(name: str, path: Path) -> Detected:
    """What a path holds; looks at names only.

    Raises:
        DatasetNotFound: it does not exist.
        DatasetError: it holds nothing that can be read.
    """
    check_exists(name, path)
    try:
        packed = sorted(path.glob("*.npz")) if path.is_dir() else []
        found_arrays = arrays.find(packed[0] if len(packed) == 1 else path)
        if found_arrays is not None:
            return Detected("image", found_arrays)
        found_images = image_folder.find(path)
        if found_images is not None:
            return Detected("image", found_images)
        found_tables = _find_tables(path)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}.", fix=f"Correct paths.{name}.") from error
    if found_tables is not None:
        return Detected("text", found_tables)
    raise DatasetError(
        f"{path} holds no data set that can be read.",
        fix=f"Set paths.{name} to class folders of images, .npz or .npy arrays, or parquet, CSV or JSONL tables of "
        "texts; files as torchvision keeps them need the name of their data set.",
    )


def _find_tables(path: Path) -> TextTableFiles | None:
    everything = tables.all_tables(path)
    if not everything:
        return None
    if path.is_dir():
        train = tables.find(path, "train")
        test = next((found for word in _TEST_WORDS if (found := tables.find(path, word))), ())
        if train:
            return TextTableFiles({"train": train, "test": test} if test else {"all": train})
    return TextTableFiles({"all": everything})


class UserFiles:
    """The data set at a path.

    Args:
        name: what the user calls it.
        root: the path; for tables it may name columns, like ``reviews.csv?text=review&label=stars``.
        num_classes: how many labels there must be; None counts those of the files.
    """

    def __init__(self, name: str, root: str, num_classes: int | None = None) -> None:
        self.name = name
        where, columns = _split_columns(root)
        self._detected = detect(name, Path(where).expanduser())
        self._columns = tables.Columns(columns.get("text"), columns.get("label"))
        self._num_classes = num_classes
        self.test_samples: int | None = None

    @property
    def kind(self) -> Kind:
        return self._detected.kind

    @cached_property
    def num_classes(self) -> int:
        """The declared number, else as many as the files' labels tell."""
        if self._num_classes is not None:
            return self._num_classes
        layout = self._detected.layout
        if isinstance(layout, image_folder.ImageFolder):
            return len(layout.classes)
        if isinstance(layout, arrays.Arrays):
            labels = layout.labels(layout.parts[0])
        else:
            words, whole = self._words, self._read_texts("all" if "all" in layout.parts else "train")
            if words:
                return len(words)
            labels = whole.labels
        return int(labels.max()) + 1 if len(labels) else 0

    def load(self, split: SplitName) -> Split:
        """See `Source.load`."""
        layout = self._detected.layout
        is_whole = "all" in layout.parts
        part = "all" if is_whole else "test" if split == "test" else "train"
        if isinstance(layout, TextTableFiles):
            return self._part(check_labels(self._read_texts(part), self.num_classes, self.name), split, is_whole)
        return self._part(check_labels(layout.split(part), self.num_classes, self.name), split, is_whole)

    @staticmethod
    def _part(whole: ImageSplit | TextSplit, split: SplitName, is_whole: bool) -> Split:
        if isinstance(whole, ImageSplit):
            return part_of(whole, split) if is_whole else whole if split == "test" else hold_out(whole, split)
        return part_of(whole, split) if is_whole else whole if split == "test" else hold_out(whole, split)

    def _read_texts(self, part: str) -> TextSplit:
        return self._table(part).split(self._words)

    @cached_property
    def _words(self) -> list[str]:
        """The labels of the training tables, where they are words; their order gives the numbers."""
        layout = self._detected.layout
        return [] if not isinstance(layout, TextTableFiles) else self._table(next(iter(layout.parts))).words()

    def _table(self, part: str) -> tables.TextTable:
        layout = self._detected.layout
        assert isinstance(layout, TextTableFiles)  # noqa: S101  # the callers have made sure
        if part not in self._tables:
            self._tables[part] = tables.read(layout.parts[part], self._columns)
        return self._tables[part]

    @cached_property
    def _tables(self) -> dict[str, tables.TextTable]:
        return {}


def _split_columns(given: str) -> tuple[str, dict[str, str]]:
    path, mark, query = given.rpartition("?")
    columns = dict(parse_qsl(query)) if mark else {}
    if not columns or not set(columns) <= {"text", "label"}:
        return given, {}
    return path, columns
