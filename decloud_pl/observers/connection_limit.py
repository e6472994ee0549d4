"""A server's connections: a few at a time, and none for long that waits for a request.

Neither aiohttp nor uvicorn limits how many connections there are, or how long one may take for a request's head. Each
takes a descriptor of the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

BACKLOG = 64
"""What a server with a limit listens with: asyncio accepts as many connections at once."""
_MOST = 64
_HEAD_SECONDS = 10.0
_LONGEST_SECONDS = 60.0

ProtocolT = TypeVar("ProtocolT", bound=asyncio.Protocol)


class ConnectionLimit:
    """Refuses connections beyond the limit, and cuts those that are slow.

    Args:
        most: at a time.
        seconds: that a connection without a request may last.
        longest: seconds of one with a request; a connection that was upgraded to another protocol may last.
    """

    def __init__(self, *, most: int = _MOST, seconds: float = _HEAD_SECONDS, longest: float = _LONGEST_SECONDS) -> None:
        self._most = most
        self._seconds = seconds
        self._longest = longest
        self._open: set[asyncio.Transport] = set()

    def guard(self, protocol: ProtocolT, is_busy: Callable[[ProtocolT], bool]) -> asyncio.Protocol:
        """A protocol that admits its connection first; from then on it is the given one's.

        Args:
            protocol: the server's.
            is_busy: whether a request has come and is not answered yet.
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
            # A transport that is being closed has its descriptor until all was sent.
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
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - as a TCP server's is
        self._admit(transport)


def _is_closed(transport: asyncio.Transport) -> bool:
    connection = transport.get_extra_info("socket")
    return connection is None or connection.fileno() < 0
