"""What an HTTP status of a store means for the user."""

from __future__ import annotations

from decloud_pl.errors import StoreError, StoreRejected, StoreUnavailable

_PASSING = (408, 425, 429)


def status_error(status: int, *, who: str, said: str = "", wait: float | None = None, login: str) -> StoreError:
    """The error for an answer that is not a success.

    ``who`` is the store as the user knows it, ``said`` its own words, free of secrets, ``wait`` what `retry_after`
    found, and ``login`` where the user sets the credentials.
    """
    words = f" ({said})" if said else ""
    if status == 401:
        return StoreRejected(f"{who} does not accept the credentials{words}.", fix=f"Check {login}.", status=status)
    if status == 403:
        return StoreRejected(
            f"{who} does not allow this with the credentials given{words}.",
            fix=f"Give the key the missing permission, or set another one with {login}.",
            status=status,
        )
    if status == 413:
        return StoreRejected(
            f"{who} does not take a file this large{words}.",
            fix="Make the update smaller, raise the limit there, or use another storage.",
            status=status,
        )
    if status == 429:
        until = "" if wait is None else f" for {wait:.0f} s"
        return StoreUnavailable(f"{who} asks to slow down{until}{words}.", retry_after=wait)
    if status >= 500 or status in _PASSING:
        return StoreUnavailable(f"{who} has a problem of its own: HTTP {status}{words}.", retry_after=wait)
    return StoreRejected(
        f"{who} refused with HTTP {status}{words}.", fix=f"Check its address and {login}.", status=status
    )
