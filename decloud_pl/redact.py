"""Remove API keys from URLs before they are shown, logged or stored.

Providers put API keys into the path (``/v2/KEY``), the query (``?api-key=KEY``) or before the host
(``user:password@``). A key in a path looks like a harmless name. So `redact` keeps only scheme, host and port of a URL.
It does not remove a key in a host name, or a key outside of a URL; `decloud_pl.secrets` keeps such keys out of the
configuration.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

HIDDEN = "…"
COMMA_BETWEEN_URLS = r"(?i:,(?=[a-z][a-z0-9+.-]*://))"
"""A regular expression: a URL may contain commas, so a comma ends it only if another URL follows."""
# A URL ends at a space or a quote.
_ADDRESS = re.compile(rf"\b([a-z][a-z0-9+.-]*)://((?:(?!{COMMA_BETWEEN_URLS})[^\s'\"<>])*)", re.IGNORECASE)
_PUNCTUATION = ".,;:!)]}"
_SECRET_WORDS = ("KEY", "SECRET", "TOKEN", "JWT", "PASSWORD", "CREDENTIAL", "AUTH")


def looks_secret(name: str) -> bool:
    """Return whether the name of a variable, for example ``API_TOKEN``, suggests that its value is a secret."""
    return any(word in name.upper() for word in _SECRET_WORDS)


def redact(text: str) -> str:
    """Reduce every URL in a text to scheme, host and port; ``file://`` URLs are unchanged."""
    return _ADDRESS.sub(_shown, text) if "://" in text else text


def redact_tree(value: Any) -> Any:
    """Apply `redact` to every text in nested lists and mappings."""
    return each_text(value, redact)


def each_text(value: Any, change: Callable[[str], str]) -> Any:
    """Apply a function to every text in nested lists and mappings."""
    if isinstance(value, Mapping):
        return {key: each_text(item, change) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [each_text(item, change) for item in value]
    return change(value) if isinstance(value, str) else value


def _shown(found: re.Match[str]) -> str:
    scheme, rest = found.groups()
    if scheme.lower() == "file":
        return found[0]
    address = rest.rstrip(_PUNCTUATION)
    authority = re.split(r"[/?#]", address, maxsplit=1)[0]
    tail = address[len(authority) :]
    host = authority.rpartition("@")[2]
    login = f"{HIDDEN}@" if host != authority else ""
    # A bare slash, and the rest of a URL that is redacted already, contain no key.
    end = tail if tail.strip("/") in ("", HIDDEN) else f"/{HIDDEN}"
    return f"{scheme}://{login}{host}{end}{rest[len(address) :]}"
