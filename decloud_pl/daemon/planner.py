"""From a round and the user's settings to the plan of its training."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from decloud_pl.config_dir import config_dir
from decloud_pl.daemon.record import RoundRecord
from decloud_pl.errors import DatasetNotSupported
from decloud_pl.settings import Settings
from decloud_pl.train.plan import TrainingPlan


@dataclass(frozen=True)
class SettingsPlanner:
    """Plans with the user's `Settings`. Nothing from the chain but the round's number gets into the plan."""

    settings: Settings

    def plan(self, record: RoundRecord, *, base_model: Path, folder: Path) -> str:
        """The plan as the worker's JSON."""
        settings = self.settings
        plan = TrainingPlan(
            base_model=base_model,
            out=folder,
            dataset=self._dataset_node(record.resolved_dataset),
            optimizer=settings.optimizer,
            trainer=settings.trainer,
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            max_batches=settings.max_batches,
            seed=settings.seed,
            convention=settings.network.update_convention(),
            gradient_rate=settings.network.gradient_rate,
            threads=max(1, _processors() // settings.max_concurrent_rounds),
        )
        return plan.to_json()

    def _dataset_node(self, name: str) -> dict[str, object]:
        """The ``conf/dataset`` file of a data set, with the user's path where one is set."""
        from omegaconf import OmegaConf

        file = config_dir() / "dataset" / f"{name}.yaml"
        if not file.is_file():
            raise DatasetNotSupported(
                f"There is no reader for the data set {name!r}.",
                fix="Map it to one that has, see conf/dataset.",
            )
        node = OmegaConf.to_container(OmegaConf.load(file))
        if not isinstance(node, dict):
            raise DatasetNotSupported(f"{file} is not a data set's declaration.", fix="Restore the file.")
        fields = {str(key): value for key, value in node.items()}
        if name in self.settings.paths:
            fields["root"] = self.settings.paths[name]
        return fields


def _processors() -> int:
    """Those that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
