"""What of a text is shown or written down: addresses without what may be a key in them, strangers' words made harmless.

A stranger's text may hold what a terminal obeys (escape sequences), what turns the order of letters round, line breaks
that forge a line of the log, a spreadsheet's formula, or megabytes. Such a text passes `legible` where it enters, as a
string of the chain or in an error's message, and again where it is printed or written.

Providers put API keys into the path (``/v2/KEY``), the query (``?api-key=KEY``) or before the host
(``user:password@``), and none of them looks different from a harmless path. So of an address only scheme, host and
port are shown. What this does not cover: a key in a host's name, and keys outside of addresses, which
`decloud_pl.secrets` keeps out of the configuration altogether.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

HIDDEN = "…"
LONGEST = 4_000
"""Characters of a text that are shown."""
# Up to a blank or a quote; a comma ends it only where another address follows.
_ADDRESS = re.compile(r"\b([a-z][a-z0-9+.-]*)://((?:(?!,[a-z][a-z0-9+.-]*://)[^\s'\"<>])*)", re.IGNORECASE)
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r")
"""What a formula may begin with, full-width forms included (OWASP, "CSV Injection")."""
_PUNCTUATION = ".,;:!)]}"
_SECRET_WORDS = ("KEY", "SECRET", "TOKEN", "JWT", "PASSWORD", "CREDENTIAL", "AUTH")


def legible(text: str, longest: int = LONGEST) -> str:
    """A stranger's text in one line: control and formatting characters spelled out, line breaks as blanks, shortened.

    Text in any script stays as it is. What comes of it passes unchanged, except for its length.
    """
    if len(text) > longest:
        text = f"{text[:longest]}…"
    return text if text.isprintable() else "".join(map(_visible, text))


def spreadsheet_cell(value: Any) -> Any:
    """A value for a CSV file: a text that a spreadsheet would take for a formula begins with an apostrophe."""
    if not isinstance(value, str):
        return value
    return f"'{legible(value)}" if value.startswith(_FORMULA) else legible(value)


def looks_secret(name: str) -> bool:
    """Whether a name says that a secret is behind it, so that no child inherits a variable called so."""
    return any(word in name.upper() for word in _SECRET_WORDS)


def redact(text: str) -> str:
    """A text in which of every address only scheme, host and port are left; ``file://`` addresses stay whole."""
    return _ADDRESS.sub(_shown, text) if "://" in text else text


def redact_tree(value: Any) -> Any:
    """The same for every text in nested lists and mappings."""
    return each_text(value, redact)


def each_text(value: Any, change: Callable[[str], str]) -> Any:
    """Nested lists and mappings with every text in them changed."""
    if isinstance(value, Mapping):
        return {key: each_text(item, change) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [each_text(item, change) for item in value]
    return change(value) if isinstance(value, str) else value


def _visible(char: str) -> str:
    if char.isprintable():
        return char
    return " " if char.isspace() else char.encode("unicode_escape").decode("ascii")


def _shown(found: re.Match[str]) -> str:
    scheme, rest = found.groups()
    if scheme.lower() == "file":
        return found[0]
    address = rest.rstrip(_PUNCTUATION)
    authority = re.split(r"[/?#]", address, maxsplit=1)[0]
    tail = address[len(authority) :]
    host = authority.rpartition("@")[2]
    login = f"{HIDDEN}@" if host != authority else ""
    # A bare slash, or one that was shortened before, says nothing.
    end = tail if tail.strip("/") in ("", HIDDEN) else f"/{HIDDEN}"
    return f"{scheme}://{login}{host}{end}{rest[len(address) :]}"
