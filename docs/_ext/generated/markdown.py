"""Markdown out of values and docstrings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [headings, ["---"] * len(headings), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def code(value: object) -> str:
    """Text as code in Markdown; none where there is none."""
    return f"`{value}`" if str(value) else ""


def prose(text: str) -> str:
    """A docstring's words in Markdown: a name in its single backticks is code as it is."""
    return " ".join(text.replace("``", "`").split())


def summary(of: object) -> str:
    """The first paragraph of a docstring."""
    text = getattr(of, "__doc__", "") or ""
    found = prose(text.strip().partition("\n\n")[0])
    if not found or found.startswith(f"{getattr(of, '__name__', '')}("):  # what dataclass writes by itself
        raise ValueError(f"{of} has no docstring.")
    return found


def attributes(of: type) -> dict[str, str]:
    """What a docstring says under ``Attributes:``, by name."""
    _, _, section = (of.__doc__ or "").partition("Attributes:\n")
    section = section.partition("\n\n")[0]
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if entry := re.match(r" {8}(\w+): (.*)", line):
            name = entry[1]
            found[name] = entry[2]
        elif name:
            found[name] += f" {line.strip()}"
    return {name: prose(f"{text[:1].upper()}{text[1:]}") for name, text in found.items()}


def type_name(hint: object) -> str:
    """A field's type as it is written."""
    return str(hint if isinstance(hint, str) else getattr(hint, "__name__", hint))
