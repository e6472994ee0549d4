"""From a round and the user's settings to the plan of its training."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from decloud_pl.daemon.record import RoundRecord
from decloud_pl.data.catalog import resolve
from decloud_pl.data.entry import DataFolder
from decloud_pl.settings import Settings
from decloud_pl.train.options import split
from decloud_pl.train.plan import TrainingPlan, UpdateDtype


@dataclass(frozen=True)
class SettingsPlanner:
    """Plans with the user's `Settings`. Nothing from the chain but the round's number gets into the plan."""

    settings: Settings

    def __post_init__(self) -> None:
        split(self.settings.trainer)  # what is wrong in it shall be said at the start, not in a round

    @property
    def publish_reserve(self) -> float:
        """Seconds that must be left for publishing when a training ends."""
        return split(self.settings.trainer)[0].publish_reserve_seconds

    def plan(self, record: RoundRecord, *, base_model: Path, folder: Path, finish_by: float | None = None) -> str:
        """The plan as the worker's JSON.

        Raises:
            DatasetNotSupported: there is no reader for the round's data set.
        """
        settings = self.settings
        plan = TrainingPlan(
            base_model=base_model,
            out=folder,
            dataset=self._dataset_node(record),
            optimizer=settings.optimizer,
            scheduler=settings.scheduler or {},
            trainer=settings.trainer,
            logger=self._logger_node(record.round_id),
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            max_batches=settings.max_batches,
            seed=settings.seed,
            convention=settings.network.update_convention(),
            gradient_rate=settings.network.gradient_rate,
            update_dtype=cast(UpdateDtype, settings.update.dtype),
            top_k=settings.update.top_k,
            min_kept=settings.update.min_kept,
            finish_by=finish_by,
            threads=max(1, _processors() // settings.max_concurrent_rounds),
        )
        return plan.to_json()

    def _logger_node(self, round_id: int) -> dict[str, object]:
        """The chosen logger's, for one round."""
        node = {name: _named(value, round_id) for name, value in (self.settings.logger or {}).items()}
        if isinstance(node.get("save_dir"), str):
            node["save_dir"] = str(Path(str(node["save_dir"])).expanduser())
        return node

    def _dataset_node(self, record: RoundRecord) -> dict[str, object]:
        """What the worker builds its `Source` from, with the user's path where one is set."""
        data = DataFolder.from_node(asdict(self.settings.data))
        return resolve(record.resolved_dataset, {}, self.settings.paths, data=data).node(data)


def _named(value: object, round_id: int) -> object:
    return value.replace("{round}", str(round_id)) if isinstance(value, str) else value


def _processors() -> int:
    """Those that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
