"""Runs one training as a child process and follows it.

The child gets its plan as a file, no secret in its environment and no place on a command line for anything
that came from the network. It ends when this process does, however that ends: its standard input is a pipe
from here, and it exits when that closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from decloud_pl.errors import TrainingError, TrainingStopped

PLAN_FILE = "plan.json"
UPDATE_FILE = "update.json"
LOG_FILE = "worker.log"

_SECRET_WORDS = ("KEY", "SECRET", "TOKEN", "JWT", "PASSWORD", "CREDENTIAL", "AUTH")
_LONGEST_LINE = 1 << 20


def worker_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without anything that looks like a secret."""
    return {name: value for name, value in environ.items() if not any(word in name.upper() for word in _SECRET_WORDS)}


class ProcessExecutor:
    """One child process per training, on this machine.

    Args:
        environ: the environment to derive the child's from.
        grace: seconds between asking a child to stop and killing it.
    """

    def __init__(self, environ: Mapping[str, str] | None = None, *, grace: float = 5.0) -> None:
        self._environ = worker_environment(os.environ if environ is None else environ)
        self._grace = grace

    async def train(self, folder: Path, on_progress: Callable[[Mapping[str, object]], None]) -> None:
        """Trains as ``folder/plan.json`` says; on return ``folder/update.json`` describes the update.

        Args:
            folder: the round's folder; the child's log goes to ``worker.log`` in it.
            on_progress: called with each progress message.

        A training that was cut off, by ending this call or otherwise, goes on from its last checkpoint.

        Raises:
            TrainingStopped: somebody else asked the child to stop.
            TrainingError: the child failed or was killed; the message is its own where it gave one.
        """
        with (folder / LOG_FILE).open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "decloud_pl.daemon.worker",
                str(folder),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=self._environ,
                # Ctrl-C goes to a terminal's whole foreground group; when to stop is the daemon's to say.
                start_new_session=True,
                limit=_LONGEST_LINE,
            )
        try:
            refusal = await self._follow(process, on_progress)
            code = await process.wait()
        finally:
            await self._end(process)
        if code == 0:
            return
        if refusal is None:
            killed = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            refusal = f"The training process {killed}."
            raise TrainingError(refusal, fix=f"Its log is {folder / LOG_FILE}.")
        raise (TrainingStopped if code == TrainingStopped.exit_code else TrainingError)(refusal)

    async def _follow(
        self, process: asyncio.subprocess.Process, on_progress: Callable[[Mapping[str, object]], None]
    ) -> str | None:
        """Reads messages until the child closes its output; returns its own word on a failure, if any."""
        stdout = process.stdout
        if stdout is None:
            raise TrainingError("The training process has no output.", fix="Start the daemon again.")
        refusal: str | None = None
        while line := await stdout.readline():
            try:
                message = json.loads(line)
            except ValueError:
                continue  # a library printed to stdout
            if not isinstance(message, dict):
                continue
            if "error" in message:
                refusal = str(message["error"])
            else:
                on_progress(message)
        return refusal

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        if process.stdin is not None:
            process.stdin.close()
        if process.returncode is None:
            # Only the child itself: it writes a checkpoint, and needs what it started for that.
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), self._grace)
            except (asyncio.TimeoutError, asyncio.CancelledError):
                _signal_group(process.pid, signal.SIGKILL)
                await process.wait()
        # Whatever the child started (data loaders, quarantine) must not outlive it.
        _signal_group(process.pid, signal.SIGKILL)


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
