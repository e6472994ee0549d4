"""Check the user's training settings when the daemon starts, before it pays for rounds that would all fail."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from decloud_pl.children import output_of
from decloud_pl.config import compose
from decloud_pl.errors import ConfigError
from decloud_pl.train.plan import TrainingPlan

_SECONDS = 120.0
# Plain numbers, which are validated without building anything.
_PLAIN = {"trainer.max_epochs", "trainer.limit_train_batches"}
_CHOICE = "trainer"
_BUILT = ("module", "datamodule", "callbacks", "optimizer", "scheduler", "trainer", "logger", "recipe")


def needs_check(plan: TrainingPlan) -> bool:
    """Return whether the user has set a part of the training that can only be checked by building it."""
    given = {name for name in plan.round.given if name.partition(".")[0] in _BUILT and name not in _PLAIN}
    return bool(given - {_CHOICE}) or (_CHOICE in given and not _is_ours(plan.config.trainer))


def _is_ours(trainer: Mapping[str, Any]) -> bool:
    """Return whether these settings describe the package's own CPU Trainer, which every machine can build."""
    ours = compose([f"{_CHOICE}=cpu"]).trainer
    own = {name: value for name, value in trainer.items() if f"{_CHOICE}.{name}" not in _PLAIN}
    return own == {name: value for name, value in ours.items() if f"{_CHOICE}.{name}" not in _PLAIN}


async def check_training(plan: TrainingPlan) -> None:
    """Check in a child process that every part of the training can be built. Do nothing if `needs_check` is false.

    Raises:
        ConfigError: a part cannot be built, or the check failed or did not finish in time.
    """
    if not needs_check(plan):
        return
    with tempfile.TemporaryDirectory() as folder:
        plan.write(Path(folder))
        command = (sys.executable, "-m", "decloud_pl.train.check", folder)
        try:
            output = await output_of(command, seconds=_SECONDS)
        except TimeoutError:
            raise ConfigError(
                f"The check of the training settings did not finish within {_SECONDS:g} s.",
                fix="Start again when the machine is less busy.",
            ) from None
    try:
        found = json.loads(output.out)
    except ValueError:
        raise ConfigError(
            f"The check of the training settings failed: {output.last_line}.", fix="Correct the training settings."
        ) from None
    if "error" in found:
        raise ConfigError(found["error"], fix=found["fix"])
