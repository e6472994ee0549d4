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
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from decloud_pl.children import Child, child_environment, kill_group
from decloud_pl.durable import private_log
from decloud_pl.errors import ExecutorUnavailable, TrainingError, TrainingStopped, UntrustedFileRejected

UPDATE_FILE = "update.json"
LOG_FILE = "worker.log"
WORKER_MODULE = "decloud_pl.executors.worker"

_BY_CODE: Mapping[int, type[TrainingError]] = {
    error.exit_code: error for error in (TrainingStopped, ExecutorUnavailable)
}
_LOOK_SECONDS = 1.0


class Executor(Protocol):
    """Where trainings run."""

    async def train(
        self, folder: Path, on_progress: Callable[[Mapping[str, object]], None], *, environment: Mapping[str, str]
    ) -> None:
        """Trains by the plan in ``folder``; on return ``folder/update.json`` describes the update.

        When cancelled it asks the training to stop, which writes a checkpoint, and returns once it has ended.

        Args:
            folder: the round's folder.
            on_progress: called with each progress message.
            environment: what the worker's environment must say besides: which of this machine's GPUs are its own.

        Raises:
            ExecutorUnavailable: there is no machine to train on for now.
            TrainingStopped: somebody else stopped the worker; it goes on from its checkpoint.
            TrainingError: the worker failed, was killed or made no progress for too long.
        """
        ...


@runtime_checkable
class Cluster(Executor, Protocol):
    """An executor whose machines may be away."""

    async def check(self) -> str:
        """Looks at them; returns what there is, in a phrase, or raises `ExecutorUnavailable`."""
        ...


class ProcessExecutor:
    """One child process per training, on this machine.

    Args:
        environ: the environment to derive the child's from.
        grace: seconds between asking a child to stop and killing it; it writes a checkpoint meanwhile.
        hang_seconds: a child that says nothing for so long is ended.
        command: what is started, with the round's folder as its last argument.
    """

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        *,
        grace: float = 30.0,
        hang_seconds: float = 900.0,
        command: Sequence[str] = (sys.executable, "-m", WORKER_MODULE),
    ) -> None:
        self._environ = child_environment(os.environ if environ is None else environ)
        self._grace = grace
        self._hang_seconds = hang_seconds
        self._command = tuple(command)

    async def train(
        self, folder: Path, on_progress: Callable[[Mapping[str, object]], None], *, environment: Mapping[str, str]
    ) -> None:
        """See `Executor`; the child's log goes to ``worker.log`` in the folder."""
        with private_log(folder / LOG_FILE) as log:
            command = (*self._command, str(folder))
            child = await Child.start(command, log=log, env={**self._environ, **environment})
        _offer_to_the_oom_killer(child.process.pid)
        try:
            refusal = await self._follow(child, on_progress)
            code = await child.process.wait()
        finally:
            await child.end(grace=self._grace)
        if code == 0:
            return
        if refusal is None:
            raise TrainingError(f"The training process {_ending(code)}.", fix=f"Its log is {folder / LOG_FILE}.")
        if code == UntrustedFileRejected.exit_code:
            raise UntrustedFileRejected(refusal)  # trying again would not change the file
        raise _BY_CODE.get(code, TrainingError)(refusal)

    async def _follow(self, child: Child, on_progress: Callable[[Mapping[str, object]], None]) -> str | None:
        """Reads messages until the child closes its output; returns its own word on a failure, if any."""
        refusal: str | None = None
        while line := await self._line(child):
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

    async def _line(self, child: Child) -> bytes:
        """The next line; empty when the child has closed its output or has ended."""
        reading = asyncio.ensure_future(child.stdout.readline())
        silent_since = time.monotonic()
        try:
            while not reading.done():
                await asyncio.wait({reading}, timeout=_LOOK_SECONDS)
                if child.process.returncode is not None:
                    # What the child started (data loaders) may still hold its output open.
                    kill_group(child.process.pid)
                if not reading.done() and time.monotonic() - silent_since > self._hang_seconds:
                    raise TrainingError(
                        f"The training made no progress for {self._hang_seconds / 60:g} minutes and was ended.",
                        fix="Raise daemon.hang_minutes if it is only slow.",
                    )
            return reading.result()
        except ValueError as error:  # a line longer than any message
            raise TrainingError("The training process wrote what is no message.", fix="Its log says more.") from error
        finally:
            reading.cancel()


def _ending(code: int) -> str:
    if code == -signal.SIGKILL:
        return "was killed, probably because memory ran out"
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _offer_to_the_oom_killer(pid: int) -> None:
    """When memory runs out the kernel takes the worker, not the daemon."""
    with contextlib.suppress(OSError):  # not Linux, or it has ended already
        Path(f"/proc/{pid}/oom_score_adj").write_text("500", encoding="ascii")
