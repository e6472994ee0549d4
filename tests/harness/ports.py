"""Free ports for tests that must choose a port before a server listens on it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

# Below the ephemeral ports, so the system does not assign one of these to another process in the meantime.
_FIRST, _EACH = 20_000, 500


def _candidates() -> Iterator[int]:
    """Yield pairs of ports, without repetition and distinct for each test process."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = _FIRST + worker % 16 * _EACH
    yield from range(first, first + _EACH, 2)


_UNUSED = _candidates()


def free_port() -> int:
    """Return a port such that it and the next one, which a network uses for its WebSocket, are free."""
    for port in _UNUSED:
        with socket.socket() as one, socket.socket() as next_one:
            try:
                one.bind(("127.0.0.1", port))
                next_one.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")
