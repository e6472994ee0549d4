"""Run trainings on a Ray cluster. Ray chooses the machine, which runs the same worker program as a local training.

Each training has its own child process, the driver, which connects to the cluster. The driver is separate from the
daemon because Ray is a heavy library, and because it may end the process that imported it when the connection to the
cluster is lost. Only the driver imports Ray. The driver gets the same environment variables as a local worker, and also
the cluster's token, but no other secrets. Keys and logins stay with the daemon, which pins the update and signs
transactions.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from decloud_pl.children import child_environment, output_of
from decloud_pl.config.schema import RayConfig
from decloud_pl.errors import ConfigError, ExecutorUnavailable
from decloud_pl.executors.process import ProcessExecutor
from decloud_pl.shortage import shortage

DRIVER_MODULE = "decloud_pl.executors.ray.driver"
_LATER = 60.0
"""Extra seconds for the driver, so that it can report a silent worker or a failed connection before it is stopped."""
_SHARE_OF_GRACE = 0.6
"""The share of the grace period for the worker to write its checkpoint. The remaining time is for sending it back."""


class RayExecutor:
    """Runs each training as its own Ray job with one worker.

    Args:
        config: the cluster's address, and the resources that each training gets.
        environ, grace, hang_seconds: as for `ProcessExecutor`.
        command: the command to run on the cluster instead of the worker's command.

    Raises:
        ConfigError: Ray is not installed.
    """

    def __init__(
        self,
        config: RayConfig,
        environ: Mapping[str, str] | None = None,
        *,
        grace: float = 30.0,
        hang_seconds: float = 900.0,
        command: Sequence[str] | None = None,
    ) -> None:
        if importlib.util.find_spec("ray") is None:
            missing = "daemon.executor=ray needs Ray, which is not installed."
            raise ConfigError(missing, fix="Install it with: pip install 'decloud_pl[ray]'")
        environ = os.environ if environ is None else environ
        self._environ = child_environment(environ)
        # The cluster's token gives access only to the cluster. The driver gets it; the worker does not.
        self._own = {name: value for name, value in environ.items() if name.startswith("RAY_AUTH_")}
        # Ray must not send usage statistics unless the user has enabled them.
        self._own |= {"RAY_USAGE_STATS_ENABLED": environ.get("RAY_USAGE_STATS_ENABLED", "0")}
        worker = {"grace": grace * _SHARE_OF_GRACE, "hang_seconds": hang_seconds, "command": command}
        options = (json.dumps(dataclasses.asdict(config)), json.dumps(worker))
        self._command = (sys.executable, "-m", DRIVER_MODULE, *options)
        self._check_seconds = config.connect_seconds + _LATER
        hang_timeout = hang_seconds + grace + _LATER
        self._driver = ProcessExecutor(environ, grace=grace, hang_seconds=hang_timeout, command=self._command)

    @classmethod
    def of(cls, *, hang_seconds: float, **config: Any) -> RayExecutor:
        """Make an executor. ``config`` holds the fields of a `RayConfig`."""
        return cls(RayConfig(**config), hang_seconds=hang_seconds)

    async def train(
        self,
        folder: Path,
        on_progress: Callable[[Mapping[str, object]], None],
        *,
        environment: Mapping[str, str],  # noqa: ARG002
    ) -> None:
        """See `Executor.train`. Ignore ``environment``, because Ray assigns the GPUs of the cluster's machines."""
        await self._driver.train(folder, on_progress, environment=self._own)

    async def check(self) -> str:
        """Return a one-line description of the cluster, or raise `ExecutorUnavailable`."""
        unfinished, fix = "The check of the Ray cluster did not finish", "Check the cluster with `ray status`."
        try:
            output = await output_of(self._command, seconds=self._check_seconds, env={**self._environ, **self._own})
            answer = json.loads(output.out)
        except (TimeoutError, ValueError):
            raise ExecutorUnavailable(f"{unfinished}.", fix=fix) from None
        except OSError as error:
            raise ExecutorUnavailable(f"{unfinished}: {shortage(error) or error}") from error
        if "error" in answer:
            raise ExecutorUnavailable(answer["message"], fix=answer["fix"])
        return str(answer["found"])
