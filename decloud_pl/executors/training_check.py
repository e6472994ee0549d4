"""Checks the user's training settings when the daemon starts: what would fail in every round must not be paid for."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path

from decloud_pl.errors import ConfigError
from decloud_pl.executors.process import worker_environment
from decloud_pl.train.plan import TrainingPlan

_SECONDS = 120.0
# Plain numbers, which are checked without building anything.
_PLAIN = {"trainer.max_epochs", "trainer.limit_train_batches"}
_BUILT = ("module", "datamodule", "callbacks", "optimizer", "scheduler", "trainer", "logger")


def needs_check(given: tuple[str, ...]) -> bool:
    """Whether the user has set something that only building it can check."""
    return any(name.partition(".")[0] in _BUILT and name not in _PLAIN for name in given)


async def check_training(plan: TrainingPlan) -> None:
    """Builds the parts of a plan in a child process, as a worker would.

    Raises:
        ConfigError: what is wrong with them.
    """
    if not needs_check(plan.round.given):
        return
    with tempfile.TemporaryDirectory() as folder:
        plan.write(Path(folder))
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "decloud_pl.train.check", folder),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=worker_environment(os.environ),
        )
        try:
            async with asyncio.timeout(_SECONDS):
                out, log = await child.communicate()
        except TimeoutError:
            raise ConfigError(
                f"The training settings could not be checked within {_SECONDS:g} s.", fix="Start again when it is idle."
            ) from None
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
    try:
        found = json.loads(out)
    except ValueError:
        lines = log.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise ConfigError(f"The training settings cannot be checked: {lines[-1]}.", fix="Correct them.") from None
    if "error" in found:
        raise ConfigError(found["error"], fix=found["fix"])
