"""Make untrusted text harmless before it is shown, logged or stored.

Untrusted text can contain escape sequences for the terminal, characters that change the direction of text, line breaks
that forge a line of the log, spreadsheet formulas, or megabytes. It passes `legible` where it enters the program, as a
string from the chain or in an error message, and again where it is printed or written.
"""

from __future__ import annotations

from typing import Any

LONGEST = 4_000
"""The maximum number of characters of an untrusted text that are shown."""
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r")
"""Characters at the beginning of a spreadsheet formula, including full-width forms (OWASP, "CSV Injection")."""


def legible(text: str, longest: int = LONGEST) -> str:
    """Return untrusted text in one line, shortened, with control and formatting characters escaped.

    Letters of any script are unchanged. Applying it to its own result changes at most the length.
    """
    if len(text) > longest:
        text = f"{text[:longest]}…"
    return text if text.isprintable() else "".join(map(_visible, text))


def spreadsheet_cell(value: Any) -> Any:
    """Return a value for a CSV file; an apostrophe before text that looks like a formula prevents its execution."""
    if not isinstance(value, str):
        return value
    return f"'{legible(value)}" if value.startswith(_FORMULA) else legible(value)


def _visible(char: str) -> str:
    if char.isprintable():
        return char
    return " " if char.isspace() else char.encode("unicode_escape").decode("ascii")
