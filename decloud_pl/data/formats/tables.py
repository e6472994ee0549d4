"""Texts and labels in tables: parquet, Arrow, CSV, TSV or JSON lines, read by Hugging Face ``datasets``.

Only what lies on disk is read: this module never asks the hub, and no table can bring code along.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decloud_pl.data.source import TextSplit
from decloud_pl.errors import DatasetError

SUFFIXES = (".parquet", ".arrow", ".csv", ".tsv", ".jsonl", ".json")
TEXT_COLUMNS = ("text", "sentence", "content", "review", "question", "document", "description", "tweet", "title")
LABEL_COLUMNS = ("label", "labels", "class", "category", "target", "sentiment", "intent")
_DEPTH = 3
_CORRECT = "Correct the file."
_WHOLE = re.compile(r"[+-]?\d{1,9}")
_LARGEST = 1e9
_METADATA = ("dataset_info.json", "state.json", "dataset_dict.json", "dataset_infos.json")


def all_tables(folder: Path) -> tuple[Path, ...]:
    """The tables in a folder and a few levels below, those of the preferred format only."""
    if folder.is_file():
        return (folder,) if folder.suffix.lower() in SUFFIXES else ()
    files = [
        path
        for depth in range(1, _DEPTH + 1)
        for path in sorted(folder.glob("/".join("*" * depth)))
        if path.suffix.lower() in SUFFIXES and path.name not in _METADATA and path.is_file()
    ]
    best = min((SUFFIXES.index(path.suffix.lower()) for path in files), default=0)
    return tuple(path for path in files if path.suffix.lower() == SUFFIXES[best])


def find(folder: Path, word: str) -> tuple[Path, ...]:
    """The tables with ``word`` in their name or their folder's, for example ``data/train-00000-of-00001.parquet``."""
    return tuple(
        path for path in all_tables(folder) if word in re.split(r"[^a-z0-9]+", str(path.relative_to(folder)).lower())
    )


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns; None takes the first usual name that is there."""

    text: str | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Texts, and labels as they stand in the files: numbers or words."""

    texts: tuple[str, ...]
    labels: list[int] | list[str]

    def split(self, words: Sequence[str]) -> TextSplit:
        """With the labels as numbers: words by their place in ``words``, numbers as they are.

        Raises:
            DatasetError: a word that is not among them.
        """
        return TextSplit(self.texts, self._numbers(words))

    def words(self) -> list[str]:
        """The labels that are words, sorted; empty when they are numbers."""
        return sorted({label for label in self.labels if isinstance(label, str)})

    def _numbers(self, words: Sequence[str]) -> NDArray[np.int64]:
        index = {word: number for number, word in enumerate(words)}
        if words and not all(isinstance(label, str) for label in self.labels):
            raise DatasetError(
                "The training data's labels are words, the test data's are numbers.", fix="Correct the files."
            )
        try:
            numbers = [index[label] if isinstance(label, str) else label for label in self.labels]
        except KeyError as error:
            raise DatasetError(
                f"A label is {error.args[0]!r}, which the training data does not know.", fix="Correct the file."
            ) from None
        return np.array(numbers, np.int64)


def read(paths: Sequence[Path], columns: Columns) -> Table:
    """One split from its files.

    Raises:
        DatasetError: a file that is damaged, or has no such columns.
    """
    import datasets
    import pyarrow as pa
    from datasets.exceptions import DatasetsError

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # what is wrong with a file is said once, below
    texts: list[str] = []
    labels: list[Any] = []
    for path in paths:
        try:
            with tempfile.TemporaryDirectory() as cache:
                table = _open(datasets, path, cache)
                text = _column(path, table.column_names, columns.text, TEXT_COLUMNS, "text")
                label = _column(path, table.column_names, columns.label, LABEL_COLUMNS, "label")
                texts += ["" if value is None else str(value) for value in table[text][:]]
                labels += _labels(path, table[label][:])
                del table
        # StopIteration is what an empty .json file gives.
        except (DatasetsError, pa.ArrowException, OSError, ValueError, KeyError, TypeError, StopIteration) as error:
            raise DatasetError(f"{path} cannot be read as a table.", fix="Get the file again.") from error
    if any(isinstance(label, str) for label in labels) and not all(isinstance(label, str) for label in labels):
        raise DatasetError(f"{paths[0].parent} has labels that are numbers and others that are words.", fix=_CORRECT)
    return Table(tuple(texts), labels)


def _labels(path: Path, values: Sequence[object]) -> list[int] | list[str]:
    """Whole numbers, also where they are written as text, or words."""
    if any(value is None or value == "" or value != value for value in values):  # NaN is not itself
        raise DatasetError(f"{path} has a row without a label.", fix=_CORRECT)
    if any(isinstance(value, float) and not value.is_integer() for value in values):
        raise DatasetError(f"{path} has a label that is no whole number.", fix=_CORRECT)
    if all(isinstance(value, str) for value in values) and not all(_WHOLE.fullmatch(str(value)) for value in values):
        return [str(value) for value in values]
    if not all(isinstance(value, (int, float, str)) for value in values):
        raise DatasetError(f"{path} has labels that are neither numbers nor words.", fix=_CORRECT)
    if not all(abs(float(value)) < _LARGEST for value in values):  # type: ignore[arg-type]  # the line above says so
        raise DatasetError(f"{path} has a label that is no class number.", fix=_CORRECT)
    return [int(value) for value in values]  # type: ignore[call-overload]  # the line above says so


def _open(datasets: Any, path: Path, cache: str) -> Any:
    """A ``datasets.Dataset`` in memory; ``cache`` is a folder for the time of the reading."""
    suffix = path.suffix.lower()
    if suffix == ".arrow":
        return datasets.Dataset.from_file(str(path), in_memory=True)
    arguments: dict[str, Any] = {"cache_dir": cache, "keep_in_memory": True}
    if suffix == ".parquet":
        return datasets.Dataset.from_parquet(str(path), **arguments)
    if suffix in (".csv", ".tsv"):
        separator = "\t" if suffix == ".tsv" else ","
        return datasets.Dataset.from_csv(str(path), sep=separator, keep_default_na=False, **arguments)
    return datasets.Dataset.from_json(str(path), **arguments)


def _column(path: Path, names: Sequence[str], wanted: str | None, usual: Sequence[str], role: str) -> str:
    candidates = usual if wanted is None else (wanted,)
    found = next((name for name in candidates if name in names), None)
    if found is None:
        raise DatasetError(
            f"{path} has no {role} column{'' if wanted is None else f' {wanted}'}; it has {', '.join(names)}.",
            fix=f"Name it after the path, like PATH?{role}=COLUMN.",
        )
    return found
