"""From a round and the user's settings to the plan of its training."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

from decloud_pl.daemon.record import RoundRecord
from decloud_pl.data.catalog import resolve
from decloud_pl.data.entry import DataFolder
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
            dataset=self._dataset_node(record),
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

    def _dataset_node(self, record: RoundRecord) -> dict[str, object]:
        """What the worker builds its `Source` from, with the user's path where one is set."""
        data = DataFolder.from_node(asdict(self.settings.data))
        return resolve(record.resolved_dataset, {}, self.settings.paths, data=data).node(data)


def _processors() -> int:
    """Those that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
