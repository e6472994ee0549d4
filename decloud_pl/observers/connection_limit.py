"""Limits the number of connections to a server, and how long each may stay open.

Neither aiohttp nor uvicorn limits the number of connections, or the time in which a client must send the head of its
request. Each connection uses a file descriptor of the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

BACKLOG = 64
"""The backlog for a server with a limit. asyncio accepts up to this many connections at once."""
_MOST = 64
_HEAD_SECONDS = 10.0
_LONGEST_SECONDS = 60.0

ProtocolT = TypeVar("ProtocolT", bound=asyncio.Protocol)


class ConnectionLimit:
    """Refuses connections beyond a limit and aborts slow ones.

    Connections that were upgraded to another protocol, such as WebSocket, are not checked any more.

    Args:
        most: the largest number of open connections.
        seconds: the interval at which each connection is checked. The check aborts a connection that has no request in
            progress.
        longest: a number of seconds. The check aborts a connection that has been open for this long, even if a request
            is in progress.
    """

    def __init__(self, *, most: int = _MOST, seconds: float = _HEAD_SECONDS, longest: float = _LONGEST_SECONDS) -> None:
        self._most = most
        self._seconds = seconds
        self._longest = longest
        self._open: set[asyncio.Transport] = set()

    def guard(self, protocol: ProtocolT, is_busy: Callable[[ProtocolT], bool]) -> asyncio.Protocol:
        """Return a protocol that either aborts a new connection or hands the connection to ``protocol``.

        Args:
            protocol: the server's protocol.
            is_busy: returns whether the server has received a request and has not answered it yet.
        """

        def is_over(transport: asyncio.Transport, age: float) -> None:
            if _is_closed(transport) or transport.get_protocol() is not protocol:
                return
            if age >= self._longest or not is_busy(protocol):
                transport.abort()
            else:
                look_later(transport, age)

        def look_later(transport: asyncio.Transport, age: float) -> None:
            asyncio.get_running_loop().call_later(self._seconds, is_over, transport, age + self._seconds)

        def admit(transport: asyncio.Transport) -> None:
            # A closing transport keeps its descriptor until all data is sent.
            self._open = {other for other in self._open if not _is_closed(other)}
            if len(self._open) >= self._most:
                transport.abort()
                return
            self._open.add(transport)
            look_later(transport, 0.0)
            transport.set_protocol(protocol)
            protocol.connection_made(transport)

        return _Admission(admit)


class _Admission(asyncio.Protocol):
    def __init__(self, admit: Callable[[asyncio.Transport], None]) -> None:
        self._admit = admit

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - true for every TCP server
        self._admit(transport)


def _is_closed(transport: asyncio.Transport) -> bool:
    connection = transport.get_extra_info("socket")
    return connection is None or connection.fileno() < 0
