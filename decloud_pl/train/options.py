"""This package's own settings among a trainer's: taken out before Lightning sees the rest. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from decloud_pl.errors import ConfigError


@dataclass(frozen=True)
class TrainerOptions:
    """What ``conf/trainer`` may say beside the arguments of Lightning's ``Trainer``.

    Attributes:
        compile: ``torch.compile`` the network; it pays on a GPU and for long trainings only.
        data_memory_mb: a data set that takes more than this, ready for use, is streamed from worker processes.
        data_workers: how many of those.
        checkpoint_seconds: between checkpoints of a running training; 0 writes them at epoch ends only.
        publish_reserve_seconds: at least this long before the round's deadline the update is finished.
    """

    compile: bool = False
    data_memory_mb: int = 2048
    data_workers: int = 2
    checkpoint_seconds: float = 60.0
    publish_reserve_seconds: float = 60.0


def split(trainer: Mapping[str, Any]) -> tuple[TrainerOptions, dict[str, Any]]:
    """The options and the node that is left for Lightning.

    Raises:
        ConfigError: an option of the wrong type or out of range.
    """
    own = {entry.name: type(entry.default) for entry in fields(TrainerOptions)}
    given = {name: trainer[name] for name in own if name in trainer}
    for name, value in given.items():
        if own[name] is bool:
            right = isinstance(value, bool)
        else:
            numbers = int if own[name] is int else (int, float)
            right = isinstance(value, numbers) and not isinstance(value, bool) and 0 <= value < math.inf
        if not right:
            wanted = "true or false" if own[name] is bool else "a number of 0 or more"
            raise ConfigError(f"trainer.{name} is {value!r}.", fix=f"Set it to {wanted}.")
    return TrainerOptions(**given), {name: value for name, value in trainer.items() if name not in own}
