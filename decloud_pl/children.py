"""Child processes: what a parent does with one, and what a child does at its start."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import TextIO

from decloud_pl.errors import TrainingStopped


@dataclass(frozen=True)
class Output:
    """What a child left: its exit code, and what it wrote to standard output and standard error."""

    code: int
    out: bytes
    log: bytes

    @property
    def last_line(self) -> str:
        """The last line that it wrote to standard error, for people."""
        lines = self.log.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "no reason given"


async def output_of(
    command: Sequence[str], *, seconds: float, given: bytes | None = None, env: Mapping[str, str] | None = None
) -> Output:
    """Runs a child to its end. The child, and what it started, has ended when this returns or raises.

    Args:
        command: the child.
        seconds: how long it may take.
        given: what it reads from standard input. Without it that stays open: a child that calls `exit_with_parent`
            ends when this process does.
        env: its environment; this process's by default.

    Raises:
        TimeoutError: it took longer.
    """
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdin=pipe, stdout=pipe, stderr=pipe, env=env, start_new_session=True
    )
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise OSError("a child process has no pipes")
    try:
        async with asyncio.timeout(seconds):
            if given is not None:
                with contextlib.suppress(ConnectionError):  # it has ended already, and its log says why
                    process.stdin.write(given)
                    await process.stdin.drain()
                process.stdin.close()
            out, log = await asyncio.gather(process.stdout.read(), process.stderr.read())
            return Output(await process.wait(), out, log)
    finally:
        process.stdin.close()
        kill_group(process.pid)
        await process.wait()


def kill_group(leader: int) -> None:
    """Kills a child that was started in a session of its own, and everything it started there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


class StopRequest:
    """SIGTERM: ends this process at once until a training has begun to ask for it, then that has to stop itself."""

    def __init__(self) -> None:
        self._requested = False
        self._asked_for = False

    def install(self) -> None:
        signal.signal(signal.SIGTERM, self._on_signal)

    def requested(self) -> bool:
        """Whether to stop; whoever asks is expected to."""
        self._asked_for = True
        return self._requested

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._requested = True
        if not self._asked_for:
            sys.exit(TrainingStopped.exit_code)


def open_messages() -> TextIO:
    """Keeps standard output for messages. What a library prints goes to standard error, and so to the log."""
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
    """Ends this process when its parent is gone: the other end of standard input closes then."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(1)

    threading.Thread(target=watch, name="exit-with-parent", daemon=True).start()
