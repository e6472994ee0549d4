"""Print JSON documents for programs, and tables and times for users."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from decloud_pl.legible import legible

PIPED_WIDTH = 80
_GAP = "  "
# Control characters that JSON does not escape, and characters that change the direction of text.
_UNPRINTABLE = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_BOLD, _PLAIN = "\033[1m", "\033[0m"


def print_json(document: Any) -> None:
    """Print one JSON document on stdout. Characters that could control a terminal are printed as JSON escapes."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    print(_UNPRINTABLE.sub(lambda found: json.dumps(found[0])[1:-1], text))


def print_result(document: Any, text: str, *, json: bool) -> None:
    """Print a JSON document for programs, or a text for users."""
    if json:
        print_json(document)
    else:
        print(text)


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, flexible: int = -1) -> None:
    """Print a table that fits the terminal, or 80 columns without a terminal.

    Args:
        headings: the column headings; ``>`` at the beginning aligns a column to the right.
        rows: the cells.
        flexible: the index of the column to wrap if the table is too wide.
    """
    rows = [[legible(cell) for cell in row] for row in rows]
    titles = [heading.removeprefix(">") for heading in headings]
    right = [heading.startswith(">") for heading in headings]
    widths = [max(len(line[index]) for line in (titles, *rows)) for index in range(len(titles))]
    flexible %= len(titles)
    room = width() - sum(widths) + widths[flexible] - len(_GAP) * (len(titles) - 1)
    widths[flexible] = max(min(widths[flexible], room), min(widths[flexible], 8))
    for number, line in enumerate((titles, *rows)):
        for text in _lines(line, widths, right, flexible):
            print(f"{_BOLD}{text}{_PLAIN}" if number == 0 and coloured() else text)


def width() -> int:
    """Return the width of the terminal in columns, or 80 for a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPED_WIDTH


def coloured() -> bool:
    """Return whether stdout is a terminal with colours, and the user has not disabled them."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _lines(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool], flexible: int) -> list[str]:
    parts = _wrapped(cells[flexible], widths[flexible])
    lines = []
    for number, part in enumerate(parts):
        texts = [part if index == flexible else ("" if number else cell) for index, cell in enumerate(cells)]
        padded = (
            text.rjust(size) if to_right else text.ljust(size)
            for text, size, to_right in zip(texts, widths, right, strict=True)
        )
        lines.append(_GAP.join(padded).rstrip())
    return lines


def _wrapped(text: str, size: int) -> list[str]:
    """Split a text into lines, at spaces and after commas where possible. No characters are added."""
    lines = []
    while len(text) > size:
        cut = max(text.rfind(" ", 0, size + 1), text.rfind(",", 0, size) + 1)
        cut = cut if cut > 0 else size
        lines.append(text[:cut].rstrip())
        text = text[cut:].lstrip()
    return [*lines, text]


def to_display(value: object, kind: str) -> str:
    """Return a setting's value in the form in which a user can type it. ``kind`` is the kind of the setting."""
    if value is None:
        return ""
    if kind == "any" and not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return ",".join(f"{key}:{item}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        listed = ",".join(map(str, value))
        return f"[{listed}]" if kind == "choice" else listed
    return str(value)


def until(seconds: int) -> str:
    """Format a time difference as ``in 9 min`` or ``3 h ago``, in the largest unit with a count of at least 1."""
    size, unit = next(((size, unit) for size, unit in _UNITS if abs(seconds) >= size), _UNITS[-1])
    count = abs(seconds) // size
    return f"{count} {unit} ago" if seconds < 0 else f"in {count} {unit}"
