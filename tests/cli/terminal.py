"""A command on a pseudo-terminal: what it asks is waited for, what is answered is typed."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

PATIENCE = 60.0
# Makes the terminal the command's own, so that Ctrl-C reaches it and getpass finds it.
_TAKE_TERMINAL = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """Runs a command whose input and output are a terminal of 80 columns."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**environ, "TERM": "xterm", "COLUMNS": "80"},
            start_new_session=True,
        )
        os.close(slave)
        self.shown = ""
        self._read_to = 0

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)

    def wait_for(self, text: str) -> None:
        """Until ``text`` is shown after what was waited for before."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.shown[self._read_to :]:
            if not self._more(deadline):
                raise AssertionError(f"{text!r} was not shown. Shown:\n{self.shown}")
        self._read_to = self.shown.index(text, self._read_to) + len(text)

    def answer(self, question: str, *lines: str) -> None:
        """Waits for a question once for each answer and types it."""
        for line in lines:
            self.wait_for(question)
            os.write(self._master, f"{line}\n".encode())

    def type(self, text: str) -> None:
        """Types without a line's end."""
        os.write(self._master, text.encode())

    def interrupt(self, question: str) -> None:
        """Waits for a question and presses Ctrl-C, again where the program was not yet waiting for the answer."""
        self.wait_for(question)
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:
            os.write(self._master, b"\x03")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=5)

    def end(self) -> int:
        """Reads to the end and returns the exit code."""
        deadline = time.monotonic() + PATIENCE
        while self._more(deadline):
            pass
        return self.process.wait(timeout=PATIENCE)

    def _more(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        try:
            data = os.read(self._master, 65536) if ready else b""
        except OSError:  # Linux says EIO when the other end has closed
            data = b""
        self.shown += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)
