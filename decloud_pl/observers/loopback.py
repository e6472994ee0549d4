"""Against DNS rebinding: a page of another site whose name leads to this machine still names that site as its host."""

from __future__ import annotations

from urllib.parse import urlsplit

_NAMES = ("127.0.0.1", "localhost", "::1")


def is_own_host(host: str) -> bool:
    """Whether a request's ``Host`` is one of this machine's own names for itself, with any port."""
    try:
        return urlsplit(f"//{host}").hostname in _NAMES
    except ValueError:
        return False
