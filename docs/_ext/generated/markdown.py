"""Convert values and docstrings to Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [headings, ["---"] * len(headings), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def code(value: object) -> str:
    """Return a value as code in Markdown, or "" for an empty value."""
    return f"`{value}`" if str(value) else ""


def prose(text: str) -> str:
    """Return a docstring's text in Markdown."""
    return " ".join(text.replace("``", "`").split())


def summary(of: object) -> str:
    """Return the first paragraph of a docstring."""
    text = getattr(of, "__doc__", "") or ""
    found = prose(text.strip().partition("\n\n")[0])
    if not found or found.startswith(f"{getattr(of, '__name__', '')}("):  # the default docstring of a dataclass
        raise ValueError(f"{of} has no docstring.")
    return found


def attributes(of: type) -> dict[str, str]:
    """Return the descriptions under ``Attributes:`` of a docstring, by name."""
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
    """Return the text of a field's type."""
    return str(hint if isinstance(hint, str) else getattr(hint, "__name__", hint))
