"""From a round and the user's settings to the plan of its training."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

from decloud_pl.chain.dialects import get_dialect
from decloud_pl.config import Settings
from decloud_pl.config.training import TrainingConfig
from decloud_pl.data.catalog import Catalog
from decloud_pl.data.entry import DataFolder
from decloud_pl.domain import Convention
from decloud_pl.journal.record import RoundRecord
from decloud_pl.redact import redact
from decloud_pl.train.plan import BASE_MODEL_FILE, RoundFile, ScoreSplit, TrainingPlan


@dataclass(frozen=True)
class SettingsPlanner:
    """Plans with the user's `Settings`. Nothing from the chain but the round's number gets into the plan."""

    settings: Settings

    @property
    def publish_reserve(self) -> float:
        """Seconds that must be left for publishing when a training ends."""
        return self.settings.fit.publish_reserve_seconds

    def plan(
        self, record: RoundRecord, *, base_model: Path, folder: Path, finish_by: float | None = None
    ) -> TrainingPlan:
        """The plan of a round's training.

        Raises:
            DatasetNotSupported: there is no reader for the round's data set.
        """
        return training_plan(
            self.settings,
            dataset=self._dataset_node(record),
            base_model=base_model,
            folder=folder,
            name=str(record.round_id),
            finish_by=finish_by,
            # Where a cluster trains, it puts in what it gives of its machine.
            threads=max(1, processors() // self.settings.max_concurrent_rounds),
            read_as=cast("Convention | None", record.convention),
        )

    def sample(self) -> TrainingPlan:
        """A plan of no round, to check the settings by."""
        return training_plan(
            self.settings, dataset={}, base_model=Path(BASE_MODEL_FILE), folder=Path(), name="check", threads=1
        )

    def _dataset_node(self, record: RoundRecord) -> dict[str, object]:
        """What the worker builds its `Source` from, with the user's path where one is set."""
        settings = self.settings
        catalog = make_catalog(settings)
        data = catalog.data
        if redact(data.mirror) != data.mirror:
            # The plan is a file, and this address may hold a key; the data set is on this machine by now.
            data = replace(data, mirror="")
        return catalog.find(record.resolved_dataset).node(data)


def make_catalog(settings: Settings) -> Catalog:
    """The catalogue with the network's names and the user's folder, mappings, paths and own data sets; see `Catalog`.

    Raises:
        ConfigError: there is no such revision of the program.
    """
    return Catalog(
        DataFolder.from_node(asdict(settings.data)),
        settings.all_mappings(),
        settings.paths,
        settings.own_conf,
        chain_names=get_dialect(settings.network.assumed_dialect).datasets,
    )


def training_plan(
    settings: Settings,
    *,
    dataset: dict[str, Any],
    base_model: Path,
    folder: Path,
    name: str,
    threads: int,
    finish_by: float | None = None,
    score_split: ScoreSplit = "held_out",
    read_as: Convention | None = None,
) -> TrainingPlan:
    """The plan of a training with the user's settings.

    ``dataset`` is the node of the data set, ``name`` that of the round or the experiment, for its logger; ``read_as``
    is how the round's validator reads updates, None where it is not known. For the others see `RoundFile`.
    """
    nodes = {entry.name: getattr(settings, entry.name) for entry in fields(TrainingConfig)}
    logger = _logger_node(settings.logger or {}, name)
    return TrainingPlan(
        RoundFile(
            base_model=base_model,
            folder=folder,
            finish_by=finish_by,
            threads=threads,
            convention=settings.written_convention(read_as),
            read_as=read_as or settings.network.read_convention,
            gradient_rate=settings.network.gradient_rate,
            score_split=score_split,
            given=settings.given,
            allow_packages=tuple(settings.allow_packages),
        ),
        TrainingConfig(**{**nodes, "dataset": dataset, "logger": logger}),
    )


def _logger_node(logger: dict[str, Any], name: str) -> dict[str, object]:
    """The chosen logger's node, for the round or the experiment of this name."""
    node = {key: value.replace("{round}", name) if isinstance(value, str) else value for key, value in logger.items()}
    if isinstance(node.get("save_dir"), str):
        node["save_dir"] = str(Path(str(node["save_dir"])).expanduser())
    return node


def processors() -> int:
    """Those that this process may run on; at most as many as OMP_NUM_THREADS allows, where others share the machine."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = os.environ.get("OMP_NUM_THREADS", "")
    return min(int(given), found) if given.isdecimal() and int(given) else found
