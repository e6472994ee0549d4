"""Errors for failed connections to stores and gateways, and for the HTTP status codes that they return."""

from __future__ import annotations

from collections.abc import Iterator

from decloud_pl.errors import StoreError, StoreRejected, StoreUnavailable

_PASSING = (408, 425, 429)
_CONNECTION = "Check its address and the network connection."


def no_answer(who: str, error: BaseException) -> StoreUnavailable:
    """Return the error for a request that got no complete answer. The message names the cause found in ``error``.

    Args:
        who: the server's name in the message, including the host.
        error: the exception of `requests`.
    """
    import socket
    import ssl

    causes = list(_causes(error))
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return StoreUnavailable(f"{who} refused the connection.", fix="Start the server or check its address.")
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return StoreUnavailable(f"{who} cannot be found: the host name does not resolve.", fix="Check its address.")
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        words = "The server does not support TLS, or this machine does not trust its certificate"
        return StoreUnavailable(
            f"{who}: the encrypted connection failed. {words}.",
            fix="Check its address and this machine's clock and proxy.",
        )
    if any(isinstance(cause, TimeoutError) or "Timeout" in type(cause).__name__ for cause in causes):
        return StoreUnavailable(f"{who} timed out.", fix=_CONNECTION)
    return StoreUnavailable(f"{who} did not answer or closed the connection.", fix=_CONNECTION)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and all its causes, including urllib3's reasons."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseException) and one not in seen:
            seen.append(one)
            yield one
            waiting += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]


def status_error(status: int, *, who: str, said: str = "", wait: float | None = None, login: str) -> StoreError:
    """Return the error for an HTTP status other than success.

    Args:
        status: the HTTP status code.
        who: the store's name in the message.
        said: the store's own error message, without secrets.
        wait: the seconds in the ``Retry-After`` header, or None.
        login: the settings that hold the credentials.
    """
    words = f" ({said})" if said else ""
    if status == 401:
        return StoreRejected(f"{who} does not accept the credentials{words}.", fix=f"Check {login}.", status=status)
    if status == 403:
        return StoreRejected(
            f"{who} does not permit this request with the current credentials{words}.",
            fix=f"Give the key the missing permission, or set another key with {login}.",
            status=status,
        )
    if status == 413:
        return StoreRejected(
            f"{who} does not accept a file of this size{words}.",
            fix="Make the update smaller, raise the limit of the store, or use another storage.",
            status=status,
        )
    if status == 429:
        until = "" if wait is None else f" for {wait:.0f} s"
        return StoreUnavailable(f"{who} limits the request rate{until}{words}.", retry_after=wait)
    if status >= 500 or status in _PASSING:
        return StoreUnavailable(f"{who} failed with HTTP {status}{words}.", retry_after=wait)
    return StoreRejected(
        f"{who} refused the request with HTTP {status}{words}.", fix=f"Check its address and {login}.", status=status
    )
