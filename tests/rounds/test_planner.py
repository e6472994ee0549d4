"""The plan of a round's training."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from decloud_pl.config import RewardsConfig, compose
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.rounds.planner import SettingsPlanner, affordable_seconds


def test_energy_may_cost_a_tenth_of_the_reward() -> None:
    # 2 kW for an hour at 0.1 SOL per kWh cost 0.2 SOL.
    assert affordable_seconds(RewardsConfig(watts=2000, sol_per_kwh="0.1"), 2_000_000_000) == pytest.approx(3600)
    assert affordable_seconds(RewardsConfig(watts=2000), 1) == math.inf


@pytest.mark.parametrize(("reward", "seconds"), [(2_000_000_000, 600), (100_000_000, 180), (0, 1)])
def test_a_plan_has_the_time_that_its_energy_is_worth(reward: int, seconds: float, tmp_path: Path) -> None:
    settings = compose(["rewards.watts=2000", "rewards.sol_per_kwh=0.1", "mappings.custom=digits"])
    record = RoundRecord(1, State.WAITING, "custom", "digits", "", reward)
    plan = SettingsPlanner(settings).plan(record, base_model=tmp_path / "base", folder=tmp_path)
    assert plan.config.budget_seconds == pytest.approx(seconds)
