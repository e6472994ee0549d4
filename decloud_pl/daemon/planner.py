"""From a round and the user's settings to the plan of its training."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from decloud_pl.daemon.record import RoundRecord
from decloud_pl.data.catalog import resolve
from decloud_pl.data.entry import DataFolder
from decloud_pl.domain import RemedyName
from decloud_pl.redact import redact
from decloud_pl.settings import Settings
from decloud_pl.settings.training import TuneConfig
from decloud_pl.train.plan import ProbeOptions, TrainingPlan, UpdateDtype


@dataclass(frozen=True)
class SettingsPlanner:
    """Plans with the user's `Settings`. Nothing from the chain but the round's number gets into the plan."""

    settings: Settings

    @property
    def publish_reserve(self) -> float:
        """Seconds that must be left for publishing when a training ends."""
        return self.settings.fit.publish_reserve_seconds

    def plan(self, record: RoundRecord, *, base_model: Path, folder: Path, finish_by: float | None = None) -> str:
        """The plan as the worker's JSON.

        Raises:
            DatasetNotSupported: there is no reader for the round's data set.
        """
        plan = training_plan(
            self.settings,
            dataset=self._dataset_node(record),
            base_model=base_model,
            folder=folder,
            logger=logger_node(self.settings, str(record.round_id)),
            finish_by=finish_by,
            threads=threads_of(self.settings),
        )
        return plan.to_json()

    def _dataset_node(self, record: RoundRecord) -> dict[str, object]:
        """What the worker builds its `Source` from, with the user's path where one is set."""
        data = DataFolder.from_node(asdict(self.settings.data))
        if redact(data.mirror) != data.mirror:
            # The plan is a file, and this address may hold a key; the data set is on this machine by now.
            data = replace(data, mirror="")
        return resolve(record.resolved_dataset, {}, self.settings.paths, data=data, own=self.settings.own_conf).node(
            data
        )


def logger_node(settings: Settings, name: str) -> dict[str, object]:
    """The chosen logger's node, for the round or the experiment of this name."""
    node = {key: _named(value, name) for key, value in (settings.logger or {}).items()}
    if isinstance(node.get("save_dir"), str):
        node["save_dir"] = str(Path(str(node["save_dir"])).expanduser())
    return node


def _named(value: object, name: str) -> object:
    return value.replace("{round}", name) if isinstance(value, str) else value


def training_plan(
    settings: Settings,
    *,
    dataset: dict[str, Any],
    base_model: Path,
    folder: Path,
    logger: dict[str, object],
    threads: int,
    finish_by: float | None = None,
) -> TrainingPlan:
    """The plan of a training with the user's settings; see `TrainingPlan` for the arguments."""
    return TrainingPlan(
        base_model=base_model,
        out=folder,
        dataset=dataset,
        optimizer=settings.optimizer,
        scheduler=settings.scheduler or {},
        trainer=_trainer(settings),
        logger=logger,
        epochs=settings.epochs or 1,
        batch_size=settings.batch_size or 1,
        learning_rate=settings.learning_rate or 0.0,
        max_batches=settings.max_batches or 0,
        seed=settings.seed,
        convention=settings.written_convention(),
        read_as=settings.network.update_convention(),
        gradient_rate=settings.network.gradient_rate,
        update_dtype=cast(UpdateDtype, settings.update.dtype),
        top_k=settings.update.top_k,
        min_kept=settings.update.min_kept,
        min_gain=settings.update.min_gain,
        remedies=cast(tuple[RemedyName, ...], tuple(settings.update.remedies)),
        finish_by=finish_by,
        threads=threads,
        probe=_probe(settings.tune),
    )


def _trainer(settings: Settings) -> dict[str, Any]:
    own = ("max_epochs", "limit_train_batches")
    return {**{name: value for name, value in settings.trainer.items() if name not in own}, **asdict(settings.fit)}


def _probe(tune: TuneConfig) -> ProbeOptions | None:
    if tune.method != "probe":
        return None
    return ProbeOptions(
        rates=tuple(tune.rates),
        epochs=tuple(tune.epochs),
        most_epochs=tune.most_epochs,
        batches=tune.batches,
        share=tune.share,
        max_seconds=tune.max_seconds,
    )


def threads_of(settings: Settings) -> int:
    """Of each training: a part of this machine's processors, or what Ray gives it on whatever machine it runs."""
    if settings.daemon.executor == "ray":
        return settings.daemon.ray.cpus
    return max(1, processors() // settings.max_concurrent_rounds)


def processors() -> int:
    """Those that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
