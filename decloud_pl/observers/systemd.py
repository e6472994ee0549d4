"""Reports the daemon's state to systemd through the datagram socket ``NOTIFY_SOCKET``, as in sd_notify(3)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

_MICRO = 1_000_000


class Notifier:
    """Sends states to the service manager; does nothing if ``NOTIFY_SOCKET`` is not set.

    A message that cannot be sent is dropped. systemd then treats the service as silent.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the null byte of the abstract namespace.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_seconds = _watchdog(environ)

    def send(self, message: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)  # noqa: FBT003 (the parameter has no name)
            sock.sendto(message.encode("utf-8"), self._address)


@asynccontextmanager
async def keep_alive(environ: Mapping[str, str]) -> AsyncIterator[None]:
    """Report that the service is ready, send watchdog messages from the event loop, and report the stop.

    If the event loop hangs, the messages stop, and systemd restarts the daemon.
    """
    notifier = Notifier(environ)
    notifier.send("READY=1")
    feeding = asyncio.create_task(_feed(notifier))
    try:
        yield
    finally:
        feeding.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await feeding
        notifier.send("STOPPING=1")


async def _feed(notifier: Notifier) -> None:
    seconds = notifier.watchdog_seconds
    while seconds is not None:
        notifier.send("WATCHDOG=1")
        await asyncio.sleep(seconds / 2)


def _watchdog(environ: Mapping[str, str]) -> float | None:
    """Return how many seconds may pass between watchdog messages; None if systemd expects none from this process."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        seconds = int(environ.get("WATCHDOG_USEC", "")) / _MICRO
    except ValueError:
        return None
    return seconds if seconds > 0 else None
