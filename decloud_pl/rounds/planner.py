"""Turn a round and the user's settings into the plan of its training."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

from decloud_pl.chain.dialects import get_dialect
from decloud_pl.config import RewardsConfig, Settings
from decloud_pl.config.training import TrainingConfig
from decloud_pl.data.catalog import Catalog
from decloud_pl.data.entry import DataFolder
from decloud_pl.domain import Convention, Payout, ScoreSplit, parse_sol
from decloud_pl.journal.record import RoundRecord
from decloud_pl.redact import redact
from decloud_pl.rounds.select import WATT_SECONDS_PER_KWH
from decloud_pl.train.fit.recipe import with_chosen
from decloud_pl.train.plan import BASE_MODEL_FILE, RoundFile, TrainingPlan

_ENERGY_SHARE = 0.1
"""Most energy for a training, as a share of the round's reward. More time gains ever less."""


@dataclass(frozen=True)
class SettingsPlanner:
    """Makes plans from the user's `Settings`. A plan has its round's number, but no text from the chain."""

    settings: Settings

    @property
    def publish_reserve(self) -> float:
        """The least number of seconds to leave between the end of a training and the deadline, for publishing."""
        return self.settings.fit.publish_reserve_seconds

    def plan(
        self,
        record: RoundRecord,
        *,
        base_model: Path,
        folder: Path,
        finish_by: float | None = None,
        payout: Payout | None = None,
    ) -> TrainingPlan:
        """Return the plan of a round's training.

        Raises:
            DatasetNotSupported: no reader supports the round's data set.
        """
        affordable = affordable_seconds(self.settings.rewards, record.reward_amount)
        return training_plan(
            replace(self.settings, budget_seconds=max(1.0, min(self.settings.budget_seconds, affordable))),
            dataset=self._dataset_node(record),
            base_model=base_model,
            folder=folder,
            name=str(record.round_id),
            finish_by=finish_by,
            # A cluster replaces this number by the processors that it assigns.
            threads=max(1, processors() // self.settings.max_concurrent_rounds),
            read_as=cast("Convention | None", record.convention),
            payout=payout,
        )

    def sample(self) -> TrainingPlan:
        """Return a plan that belongs to no round. It serves to check the settings."""
        return training_plan(
            self.settings, dataset={}, base_model=Path(BASE_MODEL_FILE), folder=Path(), name="check", threads=1
        )

    def _dataset_node(self, record: RoundRecord) -> dict[str, object]:
        """Return the configuration node from which the worker builds its data `Source`."""
        settings = self.settings
        catalog = make_catalog(settings)
        data = catalog.data
        if redact(data.mirror) != data.mirror:
            # The plan is a file, and this address may hold a key. The data set is already on this machine.
            data = replace(data, mirror="")
        return catalog.find(record.resolved_dataset).node(data)


def affordable_seconds(rewards: RewardsConfig, reward: int) -> float:
    """Return the number of seconds of training whose energy costs a tenth of ``reward`` (lamports).

    The result is infinite if the settings lack the power of this machine or the price of energy.
    """
    per_second = parse_sol(rewards.sol_per_kwh) * rewards.watts / WATT_SECONDS_PER_KWH
    return _ENERGY_SHARE * reward / per_second if per_second else math.inf


def make_catalog(settings: Settings) -> Catalog:
    """Return the catalogue that finds data sets by their names on the network, with the user's settings.

    Raises:
        ConfigError: the settings name a revision that the program does not have.
    """
    return Catalog(
        DataFolder.from_node(asdict(settings.data)),
        settings.all_mappings(),
        settings.paths,
        settings.own_conf,
        chain_names=get_dialect(settings.network.assumed_dialect).datasets,
        packages=settings.allow_packages,
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
    payout: Payout | None = None,
) -> TrainingPlan:
    """Return the plan of a training with the user's settings.

    Args:
        settings: the user's settings.
        dataset: the configuration node of the data set.
        base_model: see `RoundFile`.
        folder: see `RoundFile`.
        name: the name of the round or experiment; it replaces ``{round}`` in the logger's node.
        threads: see `RoundFile`.
        finish_by: see `RoundFile`.
        score_split: see `RoundFile`.
        read_as: the convention of the round's validator, or None if it is not known.
        payout: see `RoundFile`.
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
            payout=payout,
        ),
        with_chosen(TrainingConfig(**{**nodes, "dataset": dataset, "logger": logger}), settings.given),
    )


def _logger_node(logger: dict[str, Any], name: str) -> dict[str, object]:
    """Return the logger's node, with ``{round}`` replaced by the name and ``~`` expanded in ``save_dir``."""
    node = {key: value.replace("{round}", name) if isinstance(value, str) else value for key, value in logger.items()}
    if isinstance(node.get("save_dir"), str):
        node["save_dir"] = str(Path(str(node["save_dir"])).expanduser())
    return node


def processors() -> int:
    """Return the number of processors that this process may use; the variable OMP_NUM_THREADS can lower it."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = os.environ.get("OMP_NUM_THREADS", "")
    return min(int(given), found) if given.isdecimal() and int(given) else found
