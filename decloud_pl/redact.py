"""Addresses without what may be a key in them: the one place that decides what of a URL is shown or written down.

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
# Up to a blank or a quote; a comma ends it only where another address follows.
_ADDRESS = re.compile(r"\b([a-z][a-z0-9+.-]*)://((?:(?!,[a-z][a-z0-9+.-]*://)[^\s'\"<>])*)", re.IGNORECASE)
_PUNCTUATION = ".,;:!)]}"


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
