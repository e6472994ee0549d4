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
    """Rewrite the plan in a folder with this machine's paths, thread count and deadline.

    Args:
        folder: holds the plan; the update and working files go here.
        base_model: path of the base model on this machine.
        threads: number of CPU threads to use.
        seconds_left: seconds until the update must be on disk, or None without a deadline. It is a duration, because
            two machines' clocks may differ.

    Raises:
        DatasetNotFound: the user's data set path does not exist on this machine.
        TrainingError: the plan cannot be read.
    """
    plan = TrainingPlan.read(folder)
    finish_by = None if seconds_left is None else time.time() + seconds_left
    round_ = dataclasses.replace(plan.round, folder=folder, base_model=base_model, threads=threads, finish_by=finish_by)
    config = dataclasses.replace(plan.config, dataset=local_dataset(plan.config.dataset))
    TrainingPlan(round_, config).write(folder)


def local_dataset(node: dict[str, Any]) -> dict[str, Any]:
    """Return a data set's configuration node, adapted to this machine.

    A published data set is looked up first in the daemon's data folder. If it is not there, this machine's own data
    folder is used, and missing files are downloaded to it. The user's own path must be the same on every machine.

    Raises:
        DatasetNotFound: the user's path does not exist on this machine.
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
