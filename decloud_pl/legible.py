"""Make untrusted text harmless before it is shown, logged or stored.

Untrusted text can contain escape sequences for the terminal, characters that change the direction of text, line breaks
that forge a line of the log, spreadsheet formulas, or megabytes. `legible` is applied where such text enters the
program, as a string from the chain or in an error message, and again where the text is printed or written.
"""

from __future__ import annotations

from typing import Any

LONGEST = 4_000
"""The maximum number of characters of an untrusted text that are shown."""
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r")
"""Characters at the beginning of a spreadsheet formula, including full-width forms (OWASP, "CSV Injection")."""


def legible(text: str, longest: int = LONGEST) -> str:
    """Return untrusted text in one line, shortened, with control and formatting characters escaped.

    Letters of any script are unchanged. A second call on the result can only shorten it further.
    """
    if len(text) > longest:
        text = f"{text[:longest]}…"
    return text if text.isprintable() else "".join(map(_visible, text))


def spreadsheet_cell(value: Any) -> Any:
    """Return a value for a CSV file.

    Text that looks like a formula gets an apostrophe in front, so that a spreadsheet does not execute it.
    """
    if not isinstance(value, str):
        return value
    return f"'{legible(value)}" if value.startswith(_FORMULA) else legible(value)


def _visible(char: str) -> str:
    if char.isprintable():
        return char
    return " " if char.isspace() else char.encode("unicode_escape").decode("ascii")
