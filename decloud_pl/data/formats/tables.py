"""Texts and labels in tables: parquet, Arrow (as Hugging Face ``datasets`` writes it), CSV, TSV or JSON lines.

Only local files are read, and only their text column and label column are kept. No code in a table is executed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from decloud_pl.data.formats import delimited
from decloud_pl.data.formats.names import as_class, visible
from decloud_pl.data.source import TextSplit
from decloud_pl.errors import DatasetError, first_line

_DELIMITED = (".csv", ".tsv")
_JSON = (".jsonl", ".json")
SUFFIXES = (".parquet", ".arrow", *_DELIMITED, *_JSON)
TEXT_COLUMNS = ("text", "sentence", "content", "review", "question", "document", "description", "tweet", "title")
LABEL_COLUMNS = ("label", "labels", "class", "category", "target", "sentiment", "intent")
_DEPTH = 3
_HEAD = 1 << 16  # characters
_CORRECT = "Correct the file."
_WHOLE = re.compile(r"[+-]?\d{1,9}")
_LARGEST = 1e9
TRAIN_WORD = "train"
TEST_WORDS = ("test", "validation", "valid", "val", "dev")
_METADATA = ("dataset_info.json", "state.json", "dataset_dict.json", "dataset_infos.json")


def all_tables(folder: Path) -> tuple[Path, ...]:
    """Return the tables in a folder and up to two levels below it.

    If the tables have several formats, return only the tables in the format that comes first in `SUFFIXES`.
    """
    if folder.is_file():
        return (folder,) if folder.suffix.lower() in SUFFIXES else ()
    files = [
        path
        for depth in range(1, _DEPTH + 1)
        for path in visible(folder.glob("/".join("*" * depth)), folder)
        if path.suffix.lower() in SUFFIXES and path.name not in _METADATA and path.is_file()
    ]
    best = min((SUFFIXES.index(path.suffix.lower()) for path in files), default=0)
    return tuple(path for path in files if path.suffix.lower() == SUFFIXES[best])


def find(folder: Path, word: str) -> tuple[Path, ...]:
    """Return the tables that belong to a split, by their paths inside ``folder``.

    ``word`` is the lower-case word that marks the split, such as ``train``. The file's name must contain it as a whole
    word, as ``data/train-00000-of-00001.parquet`` does. If the name marks no split, the nearest folder that marks one
    decides, as in ``train_test/train/part-1.csv``.

    Raises:
        DatasetError: ``word`` is not `TRAIN_WORD`, and a table has both words.
    """
    found = []
    for path in all_tables(folder):
        words = _split_words(path.relative_to(folder), word)
        if word in words:
            if word != TRAIN_WORD and TRAIN_WORD in words:
                raise DatasetError(
                    f"{path} would belong to the training data and to the test data.",
                    fix=f"Keep only one of the words {TRAIN_WORD} and {word} in the name of the file or of its folder.",
                )
            found.append(path)
    return tuple(found)


def _split_words(path: Path, word: str) -> set[str]:
    marks = {TRAIN_WORD, *TEST_WORDS, word}
    names = (marks.intersection(re.split(r"[^a-z0-9]+", name.lower())) for name in reversed(path.parts))
    return next(filter(None, names), set())


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of the text column and the label column.

    None selects the first of `TEXT_COLUMNS` or `LABEL_COLUMNS` that the table has.
    """

    text: str | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class TextTable:
    """Texts and their labels. The labels are all whole numbers or all words."""

    texts: tuple[str, ...]
    labels: list[int] | list[str]

    def split(self, words: Sequence[str]) -> TextSplit:
        """Return the texts with numeric labels. A label that is a word becomes the word's index in ``words``.

        Raises:
            DatasetError: a label is not in ``words``.
        """
        index = {word: number for number, word in enumerate(words)}
        if words and not all(isinstance(label, str) for label in self.labels):
            raise DatasetError(
                "The labels of the training data are words, but those of the test data are numbers.",
                fix="Correct the files.",
            )
        try:
            numbers = [index[label] if isinstance(label, str) else label for label in self.labels]
        except KeyError as error:
            raise DatasetError(
                f"The test data has the label {error.args[0]!r}, which the training data lacks.",
                fix="Correct the files.",
            ) from None
        return TextSplit(self.texts, np.array(numbers, np.int64))

    def words(self) -> list[str]:
        """Return the distinct labels, sorted, if the labels are words; an empty list if they are numbers."""
        return sorted({label for label in self.labels if isinstance(label, str)})


def read(paths: Sequence[Path], columns: Columns) -> TextTable:
    """Read one split from its files.

    Raises:
        DatasetError: a file is damaged or lacks one of the columns.
    """
    texts: list[str] = []
    labels: list[Any] = []
    for path in paths:
        with _explained(path):
            text, label = _open(path, columns)
            texts += ["" if value is None else str(value) for value in text]
            labels += _labels(path, label)
    if any(isinstance(label, str) for label in labels) and not all(isinstance(label, str) for label in labels):
        raise DatasetError(f"{paths[0].parent} mixes labels that are numbers with labels that are words.", fix=_CORRECT)
    return TextTable(tuple(texts), labels)


def check_columns(path: Path, columns: Columns) -> None:
    """Check that a file has both columns. Read only its header, or as many rows of JSON as show both columns.

    The result is remembered until the file changes, because a daemon checks a path for every round.

    Raises:
        DatasetError: the file is damaged or lacks one of the columns.
    """
    with _explained(path):
        stat = path.stat()
    problem = _problem(path, columns, stat.st_mtime_ns, stat.st_size)
    if problem is not None:
        raise DatasetError(problem.message, fix=problem.fix)


@lru_cache(maxsize=256)
def _problem(path: Path, columns: Columns, mtime_ns: int, size: int) -> DatasetError | None:  # noqa: ARG001
    try:
        _check_columns(path, columns)
    except DatasetError as error:
        return error
    return None


def _check_columns(path: Path, columns: Columns) -> None:
    suffix = path.suffix.lower()
    with _explained(path):
        if suffix in _JSON:
            _check_json(path, columns)
        elif suffix in _DELIMITED:
            delimited.find_columns(path, lambda names: _chosen(path, columns, names))
        else:
            _chosen(path, columns, _names_in_schema(path))


def _names_in_schema(path: Path) -> list[str]:
    import pyarrow as pa
    from pyarrow import parquet

    if path.suffix.lower() == ".arrow":
        with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
            return list(stream.schema.names)
    return list(parquet.read_schema(path).names)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Convert the errors of a damaged file to a `DatasetError`."""
    try:
        yield
    except _damage() as error:
        reason = first_line(error)
        raise DatasetError(f"{path} cannot be read as a table: {reason}.", fix="Get the file again.") from error


def _damage() -> tuple[type[Exception], ...]:
    import pyarrow as pa  # only after an error, because the check of a CSV file does not need it

    return pa.ArrowException, OSError, ValueError, KeyError, TypeError, RecursionError


def _labels(path: Path, values: Sequence[object]) -> list[int] | list[str]:
    """Return whole numbers if each label is a number or a text such as ``3``; otherwise words, if all labels are text.

    Raises:
        DatasetError: a label is missing or invalid, or the file mixes numbers and words.
    """
    values = [as_class(value) if isinstance(value, str) else value for value in values]
    if any(value is None or value == "" or value != value for value in values):  # NaN differs from itself
        raise DatasetError(f"{path} has a row without a label.", fix=_CORRECT)
    if any(isinstance(value, float) and not value.is_integer() for value in values):
        raise DatasetError(f"{path} has a label that is not a whole number.", fix=_CORRECT)
    if any(isinstance(value, str) and not _WHOLE.fullmatch(value) for value in values):
        if not all(isinstance(value, str) for value in values):
            raise DatasetError(f"{path} mixes labels that are numbers with labels that are words.", fix=_CORRECT)
        return [str(value) for value in values]
    if not all(isinstance(value, (int, float, str)) for value in values):
        raise DatasetError(f"{path} has labels that are neither numbers nor words.", fix=_CORRECT)
    if not all(abs(float(value)) < _LARGEST for value in values):  # type: ignore[arg-type]  # checked above
        raise DatasetError(f"{path} has a label that is too large for a class number.", fix=_CORRECT)
    return [int(value) for value in values]  # type: ignore[call-overload]  # checked above


def _open(path: Path, columns: Columns) -> tuple[Sequence[Any], Sequence[Any]]:
    """Return the values of the text column and of the label column."""
    from pyarrow import parquet

    suffix = path.suffix.lower()
    if suffix in _JSON:
        return _from_json(path, columns)
    if suffix in _DELIMITED:
        return delimited.read(path, lambda names: _chosen(path, columns, names))
    if suffix == ".arrow":
        return _from_arrow(path, columns)
    with parquet.ParquetFile(path) as file:
        text, label = _chosen(path, columns, file.schema_arrow.names)
        table = file.read([text, label])
    return table.column(text).to_pylist(), table.column(label).to_pylist()


def _from_arrow(path: Path, columns: Columns) -> tuple[list[Any], list[Any]]:
    """Read a stream of record batches, the format of ``datasets``, which stores a class label as a number.

    Return the texts and the labels.
    """
    import pyarrow as pa

    texts: list[Any] = []
    labels: list[Any] = []
    with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
        text, label = _chosen(path, columns, stream.schema.names)
        for batch in stream:
            texts += batch.column(text).to_pylist()
            labels += batch.column(label).to_pylist()
    return texts, labels


def _from_json(path: Path, columns: Columns) -> tuple[list[Any], list[Any]]:
    """Read a file with a JSON object per line, or a JSON list of objects. Return the texts and the labels."""
    kept = {
        *((columns.text,) if columns.text else TEXT_COLUMNS),
        *((columns.label,) if columns.label else LABEL_COLUMNS),
    }
    rows: list[dict[str, Any]] = []
    names: dict[str, None] = {}
    for row in _json_objects(path):
        names.update(dict.fromkeys(row))
        rows.append({name: value for name, value in row.items() if name in kept})
    text, label = _chosen_in_json(path, columns, names)
    for row in rows:
        str(row.get(text)).encode()  # raises for half a surrogate pair, which JSON allows
    return [row.get(text) for row in rows], [row.get(label) for row in rows]


def _check_json(path: Path, columns: Columns) -> None:
    names: dict[str, None] = dict.fromkeys(_names_in_first_element(path))
    rows = _json_objects(path)
    while not _has(columns, names):  # a row may lack a column that another row has
        row = next(rows, None)
        if row is None:
            _chosen_in_json(path, columns, names)
            return
        names.update(dict.fromkeys(row))


def _names_in_first_element(path: Path) -> Iterable[str]:
    """Return the keys of the first object in a JSON list, so that its check need not read the whole list.

    Return nothing if the file is no list, or if the first object is not at its start or is too long.
    """
    with delimited.open_text(path) as file:
        head = file.read(_HEAD).lstrip()
    if not head.startswith("["):
        return ()
    try:
        first, _ = json.JSONDecoder().raw_decode(head[1:].lstrip())
    except ValueError:
        return ()
    return first if isinstance(first, dict) else ()


def _json_objects(path: Path) -> Iterator[dict[str, Any]]:
    for where, row in _json_rows(path):
        if not isinstance(row, dict):
            raise DatasetError(f"{path} cannot be read as a table: {where} is not a JSON object.", fix=_CORRECT)
        yield row


def _json_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the position of each row, such as ``line 3``, and the row. The row is None if it is not valid JSON."""
    with delimited.open_text(path) as file:
        is_list = next((line for line in file if line.strip()), "").lstrip().startswith("[")
        file.seek(0)
        if is_list:
            yield from ((f"element {number}", row) for number, row in enumerate(json.load(file), 1))
            return
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield f"line {number}", json.loads(line)
                except ValueError:
                    yield f"line {number}", None


def _chosen_in_json(path: Path, columns: Columns, names: Iterable[str]) -> tuple[str, str]:
    known = list(names)
    if not known:
        raise DatasetError(f"{path} cannot be read as a table: it is empty.", fix="Get the file again.")
    return _chosen(path, columns, known)


def _chosen(path: Path, columns: Columns, names: Sequence[str]) -> tuple[str, str]:
    """Return the names of the text column and the label column."""
    return (
        _column(path, names, columns.text, TEXT_COLUMNS, "text"),
        _column(path, names, columns.label, LABEL_COLUMNS, "label"),
    )


def _has(columns: Columns, names: Collection[str]) -> bool:
    roles = ((columns.text, TEXT_COLUMNS), (columns.label, LABEL_COLUMNS))
    return all(_named(names, wanted, usual) is not None for wanted, usual in roles)


def _named(names: Collection[str], wanted: str | None, usual: Sequence[str]) -> str | None:
    return next((name for name in (usual if wanted is None else (wanted,)) if name in names), None)


def _column(path: Path, names: Sequence[str], wanted: str | None, usual: Sequence[str], role: str) -> str:
    found = _named(names, wanted, usual)
    if found is None:
        raise DatasetError(
            f"{path} has no {role} column{'' if wanted is None else f' {wanted}'}; it has {', '.join(names)}.",
            fix=f"Append the column's name to the path: PATH?{role}=COLUMN.",
        )
    return found
