"""A custom criterion for joining works as the recipe in CONTRIBUTING.md describes it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from solders.pubkey import Pubkey

from decloud_pl.config import Settings, load
from decloud_pl.daemon.assemble import make_policy
from decloud_pl.domain import LAMPORTS_PER_SOL, Round, RoundStatus
from decloud_pl.errors import ConfigError
from decloud_pl.rounds.select import Check, Situation, explain

RECIPE = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPE = RECIPE.partition("### A criterion for joining")[2].partition("### A callback")[0]
FUNCTION, FILE = (RECIPE.partition(f"```{kind}\n")[2].partition("```")[0] for kind in ("python", "yaml"))
NOW = 100_000


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    package = tmp_path / "site" / "our_package"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "criteria.py").write_text(FUNCTION)
    monkeypatch.syspath_prepend(package.parent)
    for name in ("our_package", "our_package.criteria"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    file = tmp_path / "conf" / "rewards" / "young.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(FILE)
    environ = {"DECLOUD_HOME": str(tmp_path), "DECLOUD_ALLOW_PACKAGES": "our_package"}
    return load(["rewards=young", "rewards.min=0.5"], environ=environ)


def checked(settings: Settings, *, age: int) -> Check:
    round_ = Round(
        id=1,
        creator=Pubkey.new_unique(),
        model_cid="bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi",
        dataset="digits",
        reward_amount=LAMPORTS_PER_SOL,
        status=RoundStatus.WAITING_TRAINERS,
        validator=Pubkey.new_unique(),
        validator_fee_bps=1000,
        baseline_score=0,
        created_at=NOW - age,
        validator_deadline=NOW + 60,
        join_deadline=NOW + 60,
        submit_deadline=0,
        trainers_count=0,
        submissions_count=0,
        bump=255,
        vault_bump=255,
        max_trainers=10,
    )
    situation = Situation(now=NOW, balance=LAMPORTS_PER_SOL, occupied_slots=0)
    *others, own = explain(round_, make_policy(settings, deposit=0).criteria, situation, dataset=round_.dataset)
    assert all(check.passed for check in others)
    return own


def test_it_decides_with_the_arguments_of_its_file(settings: Settings) -> None:
    assert settings.rewards.min_lamports == LAMPORTS_PER_SOL // 2
    assert checked(settings, age=600).passed
    assert checked(settings, age=601) == Check("young", passed=False, detail="it is older than 10 minutes")


def test_one_that_fails_keeps_the_daemon_from_joining_and_from_nothing_else(settings: Settings) -> None:
    rewards = replace(settings.rewards, criteria={"young": {"_target_": "our_package.criteria.young"}})
    check = checked(replace(settings, rewards=rewards), age=0)
    assert not check.passed
    assert check.detail.startswith("your criterion young failed with TypeError: ")


def test_one_that_is_not_allowed_is_refused_at_the_start(settings: Settings) -> None:
    with pytest.raises(ConfigError, match=r"our_package\.criteria\.young' may not be built"):
        make_policy(replace(settings, allow_packages=[]), deposit=0)
