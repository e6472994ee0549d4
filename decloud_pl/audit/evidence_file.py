"""Evidence files: each holds the report of one audit as JSON, so that other people can check the audit.

A file may come from a stranger. So `read` checks the size of the file and each value in it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from decloud_pl.audit.report import Report
from decloud_pl.durable import make_private, write_atomically
from decloud_pl.errors import AuditError
from decloud_pl.journal.owner import Owner
from decloud_pl.legible import legible

AUDITS_FOLDER = "audits"
"""The folder's name in the home folder."""
FORMAT = 1
_MOST_BYTES = 1 << 20
_LONGEST = 4_000
"""The most characters of a text, and the most items of a list."""
_LARGEST = 2**64


def path_of(home: Path, owner: Owner, round_id: int) -> Path:
    """Return the path of a round's evidence file. Each `Owner` has a separate folder for these files."""
    return home / AUDITS_FOLDER / owner.folder / f"{round_id}.json"


def write(path: Path, report: Report) -> None:
    """Write an evidence file atomically.

    Raises:
        OSError: the file cannot be written.
    """
    make_private(path.parent)
    document = {"format": FORMAT, **dataclasses.asdict(report)}
    write_atomically(path, (json.dumps(document, indent=2) + "\n").encode())


def read(path: Path) -> Report:
    """Read and check an evidence file, which a stranger may have written.

    Raises:
        AuditError: the file cannot be read, is too large, or is not an evidence file.
    """
    if path.exists() and not path.is_file():  # a pipe would never end
        raise _invalid(path, "it is not a regular file")
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "it is not a readable file"
        raise AuditError(f"{path} cannot be read: {reason}.", fix="Give the path of an evidence file.") from error
    if len(data) > _MOST_BYTES:
        raise _invalid(path, f"it has more than {_MOST_BYTES:,} bytes")
    try:
        document = json.loads(data, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise _invalid(path, "it is not valid JSON") from error
    if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
        raise _invalid(path, f"its `format` is not {FORMAT}")
    try:
        report: Report = _value(Report, document, "")
    except _WrongValueError as error:
        raise _invalid(path, str(error)) from error
    return report


class _WrongValueError(Exception):
    """A value in an evidence file has a wrong type or size."""


def _value(kind: Any, value: Any, place: str) -> Any:
    """Convert a JSON value to the type ``kind``: `Report`, or the type of a field in it.

    ``place`` is the path of the value in the document, such as ``entries[0].cid``, for the error message.

    Raises:
        _WrongValueError: the value has a wrong type or size.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _fields(kind, value, place)
    if origin in (types.UnionType, typing.Union):
        wanted = [one for one in arguments if one is not type(None)]
        return None if value is None else _value(wanted[0], value, place)
    if origin is typing.Literal:
        return value if value in arguments and isinstance(value, str) else _wrong(place)
    if origin is tuple and isinstance(value, list) and len(value) <= _LONGEST:
        return tuple(_value(arguments[0], one, f"{place}[{number}]") for number, one in enumerate(value))
    if origin is dict and isinstance(value, dict) and len(value) <= _LONGEST:
        return {_value(str, key, place): _value(str, one, place) for key, one in value.items()}
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) if abs(value) < _LARGEST and math.isfinite(value) else _wrong(place)
    if kind is int and type(value) is int and abs(value) < _LARGEST:
        return value
    if kind is str and isinstance(value, str) and len(value) <= _LONGEST:
        return legible(value)
    if kind is bool and isinstance(value, bool):
        return value
    return _wrong(place)


def _fields(kind: Any, value: Any, place: str) -> Any:
    hints = typing.get_type_hints(kind)
    if not isinstance(value, Mapping) or set(value) != set(hints):
        _wrong(place or "the document")
    return kind(**{name: _value(hint, value[name], f"{place}.{name}".strip(".")) for name, hint in hints.items()})


def _wrong(place: str) -> NoReturn:
    raise _WrongValueError(f"{place} is not valid")


def _no_number(_: str) -> NoReturn:
    raise ValueError("not a number")


def _invalid(path: Path, why: str) -> AuditError:
    return AuditError(f"{path} is not an evidence file: {why}.", fix="Get it again from its author.")
