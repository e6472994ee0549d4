"""Run a command on a pseudo-terminal, wait for its questions and type answers."""

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
# Makes this the controlling terminal, which Ctrl-C and getpass need.
_TAKE_TERMINAL = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """Runs a command on a terminal with 80 columns."""

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
        """Wait until ``text`` appears after the last text that was waited for."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.shown[self._read_to :]:
            if not self._more(deadline):
                raise AssertionError(f"{text!r} was not shown. Shown:\n{self.shown}")
        self._read_to = self.shown.index(text, self._read_to) + len(text)

    def answer(self, question: str, *lines: str) -> None:
        """For each answer, wait for the question and type the answer."""
        for line in lines:
            self.wait_for(question)
            os.write(self._master, f"{line}\n".encode())

    def type(self, text: str) -> None:
        """Type text without a newline."""
        os.write(self._master, text.encode())

    def interrupt(self, question: str) -> None:
        """Wait for a question and press Ctrl-C, again if the program did not read its input yet."""
        self.wait_for(question)
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:
            os.write(self._master, b"\x03")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=5)

    def end(self) -> int:
        """Read the output to its end and return the exit code."""
        deadline = time.monotonic() + PATIENCE
        while self._more(deadline):
            pass
        return self.process.wait(timeout=PATIENCE)

    def _more(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        try:
            data = os.read(self._master, 65536) if ready else b""
        except OSError:  # Linux returns EIO after the other end has closed
            data = b""
        self.shown += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)
