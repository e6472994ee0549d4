"""Stopping: SIGINT, SIGTERM and, for children, the end of their parent."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_event(*, on_stdin_close: bool = False) -> Iterator[asyncio.Event]:
    """An event that is set when this process shall stop; a second signal ends it at once.

    Args:
        on_stdin_close: also when standard input ends, which it does when the parent is gone.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            # Nothing is lost: every state on disk is written before its effect.
            os._exit(130)
        stop.set()

    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal)
    if on_stdin_close:
        threading.Thread(target=_watch_stdin, args=(loop, stop), daemon=True).start()
    try:
        yield stop
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


def _watch_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    while os.read(0, 4096):
        pass
    with suppress(RuntimeError):  # the loop has ended already
        loop.call_soon_threadsafe(stop.set)
