"""What an HTTP status of a store means for the user."""

from __future__ import annotations

from collections.abc import Iterator

from decloud_pl.errors import StoreError, StoreRejected, StoreUnavailable

_PASSING = (408, 425, 429)


def no_answer(who: str, error: BaseException) -> StoreUnavailable:
    """The error for a request of ``requests`` that got no whole answer: what happened, as far as the system says.

    ``who`` is the server as the user knows it, with its host.
    """
    import socket
    import ssl

    causes = list(_causes(error))
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return StoreUnavailable(f"{who} is not running: nothing answers there.", fix="Start it.")
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return StoreUnavailable(f"{who} cannot be found: no such host is known.", fix="Check its address.")
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        words = "has no encrypted connection to offer, or none that this machine trusts"
        return StoreUnavailable(f"{who} {words}.", fix="Check its address and this machine's clock and proxy.")
    if any(isinstance(cause, TimeoutError) or "Timeout" in type(cause).__name__ for cause in causes):
        return StoreUnavailable(f"{who} does not answer: it was silent for too long.")
    return StoreUnavailable(f"{who} does not answer or broke off.")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and everything it was raised from, urllib3's reasons included."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseException) and one not in seen:
            seen.append(one)
            yield one
            waiting += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]


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
