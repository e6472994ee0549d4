"""Trainings on a Ray cluster: the same worker as on this machine, on whichever machine Ray finds room.

Between the daemon and the cluster stands one child process per training, the driver: Ray is a heavy library that may
end its own process when the cluster is lost. The driver gets the environment of a worker, so it holds no secret.
Keys and logins stay with the daemon, which pins the update and signs. Imports no Ray: only the driver does.
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

DRIVER_MODULE = "decloud_pl.executors.ray.driver"
_LATER = 60.0
"""Seconds by which the driver is trusted longer than the worker whose silence it reports, or than connecting takes."""
_SHARE_OF_GRACE = 0.6
"""Of the grace, for the worker to write its checkpoint; the rest is for its way back."""


class RayExecutor:
    """One Ray job with one worker per training. Raises `ConfigError` where Ray is not installed.

    Args:
        config: where, and what each gets of a machine.
        environ, grace, hang_seconds: as for `ProcessExecutor`.
        command: what is started on the cluster instead of the worker.
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
            raise ConfigError(missing, fix="Run: pip install 'decloud_pl[ray]'")
        environ = os.environ if environ is None else environ
        self._environ = child_environment(environ)
        # The cluster's own token opens the cluster and nothing else. The worker does not get it.
        self._own = {name: value for name, value in environ.items() if name.startswith("RAY_AUTH_")}
        # Nothing goes to anybody else, unless the user has decided on that.
        self._own |= {"RAY_USAGE_STATS_ENABLED": environ.get("RAY_USAGE_STATS_ENABLED", "0")}
        worker = {"grace": grace * _SHARE_OF_GRACE, "hang_seconds": hang_seconds, "command": command}
        options = (json.dumps(dataclasses.asdict(config)), json.dumps(worker))
        self._command = (sys.executable, "-m", DRIVER_MODULE, *options)
        self._check_seconds = config.connect_seconds + _LATER
        hang_timeout = hang_seconds + grace + _LATER
        self._driver = ProcessExecutor(environ, grace=grace, hang_seconds=hang_timeout, command=self._command)

    @classmethod
    def of(cls, *, hang_seconds: float, **config: Any) -> RayExecutor:
        """From the values of a `RayConfig`."""
        return cls(RayConfig(**config), hang_seconds=hang_seconds)

    async def train(
        self,
        folder: Path,
        on_progress: Callable[[Mapping[str, object]], None],
        *,
        environment: Mapping[str, str],  # noqa: ARG002
    ) -> None:
        """See `Executor`. Ray divides the GPUs of its machines itself: this machine's are not asked for."""
        await self._driver.train(folder, on_progress, environment=self._own)

    async def check(self) -> str:
        """Looks at the cluster; returns what it has, in a phrase, or raises `ExecutorUnavailable`."""
        try:
            output = await output_of(self._command, seconds=self._check_seconds, env={**self._environ, **self._own})
            answer = json.loads(output.out)
        except (TimeoutError, ValueError):
            raise ExecutorUnavailable("The look at the Ray cluster did not come to an end.") from None
        if "error" in answer:
            raise ExecutorUnavailable(answer["message"], fix=answer["fix"])
        return str(answer["found"])
