"""Read the text column and the label column of CSV and TSV files in UTF-8.

Texts stay as they are in the file, even digits, dates and the word null. A quote that is never closed would swallow the
rows after it. So such a quote is an error in CSV files and an ordinary character in TSV files.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from decloud_pl.errors import DatasetError

_LONGEST_FIELD = 1 << 24  # characters
_HEAD = 1024
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_WHOLE = re.compile(r"[+-]?\d+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_TRUTH = {"true": 1, "1": 1, "false": 0, "0": 0}
_Row = tuple[int, list[str]]
"""The number of the first line of a row, and its fields."""
_Pairs = tuple[list[str], list[str]]
"""Texts and labels."""


class _NoRowError(DatasetError):
    """A line is not a valid row."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The number of fields in a row, and the positions of the text and the label."""

    width: int
    text: int
    label: int

    def of(self, path: Path, rows: Iterator[_Row], several: list[_Row]) -> _Pairs:
        """Return the texts and the labels of all rows except the header.

        Rows with a line break inside a field are also appended to ``several``.
        """
        texts: list[str] = []
        labels: list[str] = []
        next(rows)
        for line, fields in rows:
            if len(fields) != self.width:
                raise _NoRowError(
                    f"{path} has {len(fields)} fields in line {line}, but its header has {self.width}.",
                    fix="Put quotes around a text that contains the separator.",
                )
            texts.append(fields[self.text])
            labels.append(fields[self.label].strip())
            if any("\n" in field for field in fields):
                several.append((line, fields))
        return texts, labels


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a UTF-8 text file, with or without the byte order mark of spreadsheets. Line endings stay unchanged.

    Raises:
        DatasetError: the file has another encoding.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or head.count(0) * 4 > len(head) > 0:
        raise DatasetError(
            f"{path} is UTF-16 text.", fix="Save it as UTF-8, for example with `iconv -f UTF-16 -t UTF-8 OLD > NEW`."
        )
    try:
        with path.open(encoding="utf-8-sig", newline="") as text:
            yield text
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path} is not UTF-8 text: see line {_first_wrong(path)}.",
            fix="Save it as UTF-8. If it is Latin-1, use `iconv -f LATIN1 -t UTF-8 OLD > NEW`.",
        ) from error


def read(path: Path, choose: Callable[[Sequence[str]], tuple[str, str]]) -> tuple[list[str], list[object]]:
    """Return the texts and the labels of a file. The labels become numbers if all are numbers or all are truth values.

    Args:
        path: the file. Its suffix determines the separator.
        choose: receives the names of all columns, and returns the names of the text column and the label column.

    Raises:
        DatasetError: the file is empty or not UTF-8, a column is missing, or a line is not a valid row.
    """
    columns = find_columns(path, choose)
    texts, labels = _tsv(path, columns) if _separator(path) == "\t" else _csv(path, columns)
    return texts, _as_one_type(labels)


def find_columns(path: Path, choose: Callable[[Sequence[str]], tuple[str, str]]) -> Columns:
    """Read only the header of a file. Return the positions of the text column and the label column.

    For the arguments see `read`.

    Raises:
        DatasetError: the file is empty or not UTF-8, or a column is missing.
    """
    separator = _separator(path)
    with open_text(path) as file:
        names = next((row for _, row in _rows(path, file, separator)), None)
    if names is None:
        raise DatasetError(f"{path} is empty.", fix="Get the file again.")
    try:
        chosen = choose(names)
    except DatasetError:
        _check_separator(path, separator.join(names), separator)
        raise
    text, label = map(names.index, chosen)
    return Columns(len(names), text, label)


def _separator(path: Path) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else ","


def _csv(path: Path, columns: Columns) -> _Pairs:
    several: list[_Row] = []
    with open_text(path) as file:
        pairs = columns.of(path, _rows(path, file, ","), several)
    known = set(pairs[1])
    for line, row in several:
        for column, value in enumerate(row):
            if "\n" in value and _is_of_rows(value.splitlines()[:-1], row[:column], columns, known):
                raise _stray_quote(path, line)
    return pairs


def _is_of_rows(lines: list[str], before: list[str], columns: Columns, known: set[str]) -> bool:
    """Return whether a quoted text probably contains whole rows of the file, because a quote was never closed.

    The function reads each line of the text as a row. It returns true if every row has the right number of fields and
    a known label.

    Args:
        lines: the lines of the quoted text, without the last line.
        before: the fields to the left of the quoted text. They come before the fields of the first line.
        columns: the number of fields, and the position of the label.
        known: the labels that were read from the file.
    """
    rows = list(csv.reader(lines))
    if not rows:  # the text's only line break is at its end
        return False
    rows[0] = [*before, *rows[0]]
    return all(len(row) == columns.width and row[columns.label].strip() in known for row in rows)


def _tsv(path: Path, columns: Columns) -> _Pairs:
    """Read tab-separated rows, in which a quoted text can have several lines.

    If a row is invalid, or a text of several lines contains a tab, read the file again with each line as one row. In
    this second attempt, a quote that is never closed is an ordinary character.
    """
    several: list[_Row] = []
    try:
        with open_text(path) as file:
            pairs = columns.of(path, _rows(path, file, "\t"), several)
        if not any("\n" in value and "\t" in value for _, row in several for value in row):
            return pairs
    except _NoRowError:
        pass
    with open_text(path) as file:
        lines = ((number, line.rstrip("\r\n")) for number, line in enumerate(file, 1))
        return columns.of(path, ((number, _fields(line, columns.width)) for number, line in lines if line), [])


def _fields(line: str, width: int) -> list[str]:
    try:
        quoted = next(csv.reader([line], delimiter="\t", strict=True))
    except csv.Error:
        quoted = []
    return quoted if len(quoted) == width else line.split("\t")


def _rows(path: Path, lines: Iterable[str], separator: str) -> Iterator[_Row]:
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))
    reader = csv.reader(lines, delimiter=separator, strict=True)
    line = 1
    try:
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise _stray_quote(path, line) from error


def _stray_quote(path: Path, line: int) -> _NoRowError:
    return _NoRowError(
        f"{path} has an unclosed or misplaced quote in the row at line {line}, so a text cannot be read.",
        fix='Put quotes around the text, and write each quote inside it as "".',
    )


def _check_separator(path: Path, header: str, separator: str) -> None:
    other = next((mark for mark in _SEPARATORS if mark in header), separator)
    if separator not in header and other != separator:
        raise DatasetError(
            f"{path} separates its columns by {_SEPARATORS[other]} instead of {_SEPARATORS[separator]}.",
            fix="Save it with commas as .csv, or with tabs as .tsv.",
        )


def _as_one_type(values: list[str]) -> list[object]:
    if all(map(_WHOLE.fullmatch, values)):
        return [int(value) for value in values]
    if all(map(_NUMBER.fullmatch, values)):
        return [float(value) for value in values]
    if all(value.lower() in _TRUTH for value in values):
        return [_TRUTH[value.lower()] for value in values]
    return list(values)


def _first_wrong(path: Path) -> int:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return number
