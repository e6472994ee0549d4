"""Trainings on a Ray cluster: the same worker as on this machine, on whichever machine Ray finds room.

Between the daemon and the cluster stands one child process per training, the relay (`ray_relay`): a driver of Ray is
a heavy library that may end its own process when the cluster is lost, and it holds no secret, because it gets the
environment that a worker gets. So keys and logins stay with the daemon, which pins the update and signs.

Imports no Ray: only the relay does.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from decloud_pl.errors import ConfigError, ExecutorUnavailable
from decloud_pl.executors.process import ProcessExecutor, worker_environment
from decloud_pl.executors.ray.options import RayOptions

RELAY_MODULE = "decloud_pl.executors.ray.relay"
_MORE_PATIENT = 60.0
"""Seconds by which the relay is trusted longer than the worker whose silence it reports."""
_CHECK_SECONDS = 30.0


class RayExecutor:
    """One Ray job with one worker per training.

    Args:
        options: where and how.
        environ: the environment to derive the relay's from.

    Raises:
        ConfigError: Ray is not installed.
    """

    def __init__(self, options: RayOptions, environ: Mapping[str, str] | None = None) -> None:
        if importlib.util.find_spec("ray") is None:
            raise ConfigError(
                "daemon.executor=ray needs Ray, which is not installed.", fix="Run: pip install 'decloud_pl[ray]'"
            )
        environ = os.environ if environ is None else environ
        self._options = options
        self._environ = worker_environment(environ)
        # The cluster's own token opens the cluster and nothing else. The worker does not get it.
        self._cluster_key = {name: value for name, value in environ.items() if name.startswith("RAY_AUTH_")}
        self._relay = ProcessExecutor(
            environ,
            grace=options.grace,
            hang_seconds=options.hang_seconds + options.grace + _MORE_PATIENT,
            command=self._command(),
        )

    def _command(self) -> tuple[str, ...]:
        return (sys.executable, "-m", RELAY_MODULE, self._options.to_json())

    async def train(
        self,
        folder: Path,
        on_progress: Callable[[Mapping[str, object]], None],
        *,
        environment: Mapping[str, str],  # noqa: ARG002
    ) -> None:
        """See `Executor`; Ray divides the GPUs, so ``environment`` is not used.

        The folder's plan, base model and checkpoint travel to the machine that trains; newer checkpoints, the log
        and the update come back.
        """
        await self._relay.train(folder, on_progress, environment=self._cluster_key)

    async def check(self) -> str:
        """Looks at the cluster; returns what it has, in a phrase.

        Raises:
            ExecutorUnavailable: it cannot be reached, or none of its machines is large enough.
        """
        process = await asyncio.create_subprocess_exec(
            *self._command(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**self._environ, **self._cluster_key},
            start_new_session=True,
        )
        try:
            # Not `communicate`, which would close its input: to the relay that is the daemon's end.
            async with asyncio.timeout(self._options.connect_seconds + _CHECK_SECONDS):
                line = await _first_line(process)
        except TimeoutError:
            line = b""
        finally:
            if process.stdin is not None:
                process.stdin.close()
            if process.returncode is None:
                process.kill()
            await process.wait()
        answer = json.loads(line) if line else {"error": "The look at the Ray cluster did not come to an end."}
        if "error" in answer:
            raise ExecutorUnavailable(str(answer["error"]), fix=str(answer.get("fix", "")))
        return str(answer["found"])


async def _first_line(process: asyncio.subprocess.Process) -> bytes:
    return b"" if process.stdout is None else await process.stdout.readline()
