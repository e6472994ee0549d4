"""A plan as it holds on another machine than the one that wrote it."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

from decloud_pl.data.entry import DataFolder, Entry
from decloud_pl.data.user_files import path_of
from decloud_pl.errors import DatasetNotFound
from decloud_pl.train.plan import TrainingPlan


def localize_plan(folder: Path, base_model: Path, *, threads: int, seconds_left: float | None) -> None:
    """Puts the paths, the threads and the time of this machine into the plan in a folder.

    Args:
        folder: for the plan, the update and working files.
        base_model: where the base model is.
        threads: processor threads to use.
        seconds_left: until the update must be on disk. Not a time, because the clocks of two machines differ.

    Raises:
        DatasetNotFound: the user's path is not on this machine.
        TrainingError: the plan cannot be read.
    """
    plan = TrainingPlan.read(folder)
    finish_by = None if seconds_left is None else time.time() + seconds_left
    round_ = dataclasses.replace(plan.round, folder=folder, base_model=base_model, threads=threads, finish_by=finish_by)
    config = dataclasses.replace(plan.config, dataset=local_dataset(plan.config.dataset))
    TrainingPlan(round_, config).write(folder)


def local_dataset(node: dict[str, Any]) -> dict[str, Any]:
    """A data set's node as it holds for this machine.

    A published data set is looked for in the folder that the daemon names, then in this machine's own data folder,
    where it is downloaded when it is missing. A path that the user gave must be the same on every machine.

    Raises:
        DatasetNotFound: it is not here.
    """
    root = node.get("root")
    if root is not None:
        if not path_of(str(root)).exists():
            raise DatasetNotFound(
                f"There is no {path_of(str(root))}, the path of the data set, on this machine.",
                fix="Put it at the same path on every machine of the Ray cluster.",
            )
        return node
    named = node.get("data")
    if not isinstance(named, dict) or not isinstance(node.get("entry"), dict):
        return node
    entry = Entry.from_node(str(node["entry"].get("name")), node)
    if entry.find(None, DataFolder.from_node(named)) is not None:
        return node
    return {**node, "data": DataFolder.from_node({**named, "folder": None}).to_node()}
