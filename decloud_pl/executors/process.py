"""Run one training in a child process and follow its progress.

The child reads its plan from a file. Its environment holds no secrets, and no text from the network appears on its
command line. The child's standard input is a pipe from this process, and the child exits when the pipe closes. So the
child exits when this process ends, even if this process is killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from decloud_pl.children import Child, child_environment, kill_group
from decloud_pl.durable import private_log
from decloud_pl.errors import (
    DecloudError,
    ExecutorUnavailable,
    MachineShortage,
    TrainingError,
    TrainingStopped,
    UntrustedFileRejected,
)
from decloud_pl.shortage import killed

UPDATE_FILE = "update.json"
LOG_FILE = "worker.log"
WORKER_MODULE = "decloud_pl.executors.worker"

_BY_CODE: Mapping[int, type[DecloudError]] = {
    error.exit_code: error for error in (TrainingStopped, ExecutorUnavailable, MachineShortage)
}
_LOOK_SECONDS = 1.0
_OOM_OF_TRAINING = 500
"""The kernel kills the training rather than the daemon if memory runs out. It also applies to the quarantine child that
opens the round's own base model."""


class Executor(Protocol):
    """Runs trainings, on this machine or on a cluster."""

    async def train(
        self, folder: Path, on_progress: Callable[[Mapping[str, object]], None], *, environment: Mapping[str, str]
    ) -> None:
        """Run the training planned in ``folder``. On return, ``folder/update.json`` describes the update.

        When this call is cancelled, it stops the training, which first writes a checkpoint, and waits until the
        training has ended.

        Args:
            folder: the round's folder.
            on_progress: called with each progress message.
            environment: extra environment variables for the worker, which select the GPUs that it may use.

        Raises:
            ExecutorUnavailable: no machine is available for training at the moment.
            TrainingStopped: the worker was stopped from outside. The training can resume from its checkpoint.
            MachineShortage: the machine lacks disk space, memory or file descriptors, or the worker was killed.
            UntrustedFileRejected: the quarantine refused a file of the round.
            TrainingError: the worker failed or made no progress for too long.
        """
        ...


@runtime_checkable
class Cluster(Executor, Protocol):
    """An executor that uses other machines, which may be unreachable."""

    async def check(self) -> str:
        """Return a one-line description of the machines, or raise `ExecutorUnavailable`."""
        ...


class ProcessExecutor:
    """Runs each training in its own child process on this machine.

    Args:
        environ: the environment variables from which `child_environment` selects those of the child.
        grace: the seconds that a child gets to write a checkpoint after a request to stop. Then it is killed.
        hang_seconds: a child that reports no progress for this many seconds is ended.
        command: the command to start. The round's folder is appended as its last argument.
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
        """See `Executor.train`. The child's log is ``worker.log`` in the folder."""
        with private_log(folder / LOG_FILE) as log:
            command = (*self._command, str(folder))
            child = await Child.start(
                command, log=log, env={**self._environ, **environment}, oom_score=_OOM_OF_TRAINING
            )
        try:
            refusal = await self._follow(child, on_progress)
            code = await child.process.wait()
        finally:
            await child.end(grace=self._grace)
        if code == 0:
            return
        if refusal is None:
            outside = killed("The training process", code)
            if outside is not None:
                raise outside
            raise TrainingError(f"The training process {_ending(code)}.", fix=f"See {folder / LOG_FILE}.")
        if code == UntrustedFileRejected.exit_code:
            raise UntrustedFileRejected(refusal)  # a retry would read the same file
        raise _BY_CODE.get(code, TrainingError)(refusal)

    async def _follow(self, child: Child, on_progress: Callable[[Mapping[str, object]], None]) -> str | None:
        """Read messages until the child closes its output; return the error that it reported, if any."""
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
        """Return the child's next line of output, or empty bytes if the child has closed its output or has ended."""
        reading = asyncio.ensure_future(child.stdout.readline())
        silent_since = time.monotonic()
        try:
            while not reading.done():
                await asyncio.wait({reading}, timeout=_LOOK_SECONDS)
                if child.process.returncode is not None:
                    # The child's own children, such as data loaders, may still hold its output open.
                    kill_group(child.process.pid)
                if not reading.done() and time.monotonic() - silent_since > self._hang_seconds:
                    raise TrainingError(
                        f"The training was stopped: it made no progress for {self._hang_seconds / 60:g} minutes.",
                        fix="If the training is only slow, raise daemon.hang_minutes.",
                    )
            return reading.result()
        except ValueError as error:  # a line longer than any message
            raise TrainingError(
                "The training process wrote an invalid message.", fix="See worker.log in the round's folder."
            ) from error
        finally:
            reading.cancel()


def _ending(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
