"""Ports that a test names before something listens on them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

# Below those that systems give to whoever asks for any: nobody gets one of these by chance in the meantime.
_FIRST, _EACH = 20_000, 500


def _candidates() -> Iterator[int]:
    """Pairs of ports, others in each test process; none twice."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = _FIRST + worker % 16 * _EACH
    yield from range(first, first + _EACH, 2)


_UNUSED = _candidates()


def free_port() -> int:
    """A port on which nobody listens, nor on the next one, which a network takes for its WebSocket."""
    for port in _UNUSED:
        with socket.socket() as one, socket.socket() as next_one:
            try:
                one.bind(("127.0.0.1", port))
                next_one.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")
