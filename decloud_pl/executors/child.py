"""What a child process of the daemon does at its start: its messages, its end with the daemon, being stopped."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from types import FrameType
from typing import TextIO

from decloud_pl.errors import TrainingStopped


class StopRequest:
    """SIGTERM: ends this process at once until a training has begun to ask for it, then that has to stop itself."""

    def __init__(self) -> None:
        self._requested = False
        self._asked_for = False

    def install(self) -> None:
        signal.signal(signal.SIGTERM, self._on_signal)

    def requested(self) -> bool:
        self._asked_for = True
        return self._requested

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._requested = True
        if not self._asked_for:
            sys.exit(TrainingStopped.exit_code)


def open_messages() -> TextIO:
    """Standard output for messages alone; whatever a library prints goes to the log with standard error."""
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    return messages


def send(messages: TextIO, message: object) -> None:
    """Writes one message as a line of JSON; ends this process when nobody is left to read it."""
    try:
        messages.write(json.dumps(message) + "\n")
    except BrokenPipeError:
        os._exit(1)


def exit_with_parent() -> None:
    """Ends this process when the daemon is gone: the other end of standard input closes then."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(1)

    threading.Thread(target=watch, name="exit-with-parent", daemon=True).start()
