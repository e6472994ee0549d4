"""The settings that a process with torch must check before the daemon joins a round."""

from __future__ import annotations

import pytest

from decloud_pl.config import compose
from decloud_pl.executors.training_check import needs_check
from decloud_pl.rounds.planner import SettingsPlanner


@pytest.mark.parametrize(
    ("overrides", "is_checked"),
    [
        ([], False),
        (["epochs=3", "max_batches=5"], False),
        (["trainer=cpu", "epochs=3"], False),
        (["trainer=cpu", "trainer.devices=2"], True),
        (["trainer=cpu", "optimizer.lr=1"], True),
        (["optimizer=sgd"], True),
    ],
)
def test_what_can_go_wrong_is_checked(overrides: list[str], is_checked: bool) -> None:
    assert needs_check(SettingsPlanner(compose(overrides)).sample()) is is_checked


def test_a_trainer_of_the_users_own_is_checked() -> None:
    plan = SettingsPlanner(compose(["trainer=cpu"])).sample()
    plan.config.trainer["max_time"] = "an hour"
    assert needs_check(plan)
