"""Adapt a training plan to a machine other than the one that wrote it."""

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
    """Replace the paths, the thread count and the deadline in a training plan with those of this machine.

    Args:
        folder: the folder that holds the plan. The training writes its update and working files there.
        base_model: path of the base model on this machine.
        threads: number of CPU threads to use.
        seconds_left: the seconds until the update must be on disk; None if there is no deadline. It is a duration and
            not a time, because two machines' clocks may differ.

    Raises:
        DatasetNotFound: the path that the user has set for the data set does not exist on this machine.
        TrainingError: the plan cannot be read.
    """
    plan = TrainingPlan.read(folder)
    finish_by = None if seconds_left is None else time.time() + seconds_left
    round_ = dataclasses.replace(plan.round, folder=folder, base_model=base_model, threads=threads, finish_by=finish_by)
    config = dataclasses.replace(plan.config, dataset=local_dataset(plan.config.dataset))
    TrainingPlan(round_, config).write(folder)


def local_dataset(node: dict[str, Any]) -> dict[str, Any]:
    """Return a data set's configuration node, adapted to this machine.

    If the user has set a path for the data set, this path must exist on every machine. Otherwise, the node contains the
    path of the daemon's data folder. If this machine has the files at the same path, the node stays unchanged. If not,
    the result uses the default data folder of this machine. Missing files are downloaded to that folder, unless
    ``data.download`` is false.

    Raises:
        DatasetNotFound: the path that the user has set does not exist on this machine.
    """
    root = node.get("root")
    if root is not None:
        if not path_of(str(root)).exists():
            raise DatasetNotFound(
                f"The data set's path {path_of(str(root))} does not exist on this machine.",
                fix="Copy the data set to the same path on every machine of the Ray cluster.",
            )
        return node
    named = node.get("data")
    if not isinstance(named, dict) or not isinstance(node.get("entry"), dict):
        return node
    entry = Entry.from_node(str(node["entry"].get("name")), node)
    if entry.find(None, DataFolder.from_node(named)) is not None:
        return node
    return {**node, "data": DataFolder.from_node({**named, "folder": None}).to_node()}
