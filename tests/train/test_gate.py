"""The gate submits what is expected to pay, and gives the reason when it withholds an update."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decloud_pl.domain import Payout
from decloud_pl.train.score.gate import Rules, expected_reward, judge
from decloud_pl.train.score.scorer import Gain

SURE = Gain(0.1, 0.8, 0.65, 0.74, 1000)
UNSURE = Gain(0.8, 0.803, -0.004, 0.01, 1000)
LOSS = Gain(0.8, 0.788, -0.031, 0.007, 1000)
HERE = Rules("delta", 0.1, "delta")
CERTAIN = dataclasses.replace(HERE, min_gain=0.0)
SOL = 10**9


def paying(pool: int, trainers: int) -> Rules:
    return dataclasses.replace(HERE, payout=Payout(pool, trainers, 5000))


@pytest.mark.parametrize(
    ("trainers", "chance", "share"),
    [
        (1, 1.0, 1.0),
        (1, 0.0, 1.0),  # nobody else can gain, so the validator shares equally
        (2, 1.0, 0.5),
        (2, 0.5, 0.375),  # 0.5 as we gain, and half of 0.5 as nobody does, of one half
        (2, 0.0, 0.25),
        (4, 1.0, 0.25),
        (4, 0.0, 0.03125),
        (10, 0.0, 0.1 / 512),
    ],
)
def test_the_expected_reward(trainers: int, chance: float, share: float) -> None:
    assert expected_reward(Payout(SOL, trainers, 5000), chance) == pytest.approx(share * SOL, abs=1)


@given(st.integers(1, 255), st.floats(0, 1), st.floats(0, 1), st.integers(0, 2**64))
def test_a_better_chance_never_earns_less_and_nothing_earns_more_than_the_pool(
    trainers: int, one: float, other: float, pool: int
) -> None:
    less, more = (expected_reward(Payout(pool, trainers, 5000), chance) for chance in sorted((one, other)))
    assert 0 <= less <= more <= pool * (1 + 1e-12)


@pytest.mark.parametrize(
    ("low", "high", "chance"), [(-0.01, 0.01, 0.5), (0.0, 0.02, 0.975), (-0.02, 0.0, 0.025), (0.3, 0.3, 1.0)]
)
def test_the_interval_gives_the_chance_of_a_gain(low: float, high: float, chance: float) -> None:
    assert Gain(0.5, 0.5 + (low + high) / 2, low, high, 100).chance == pytest.approx(chance, abs=1e-3)


def test_an_update_that_earns_less_than_the_fee_is_withheld() -> None:
    lost = Gain(0.8, 0.5, -0.32, -0.28, 1000)
    assert judge(paying(20_000_000, 10), lost).withheld == (
        "the update is expected to earn 0.000003906 SOL, less than the fee of 0.000005 SOL"
    )
    assert not judge(paying(30_000_000, 10), lost).withheld  # of this pool, the equal split alone earns the fee
    assert str(judge(paying(9_000, 2), SURE)) == (
        "Nothing will be submitted: the update is expected to earn 0.0000045 SOL, less than the fee of 0.000005 SOL."
    )
    assert not judge(paying(10_000, 2), SURE).withheld


def test_a_gain_that_may_be_chance_is_submitted_and_says_what_it_may_earn() -> None:
    verdict = judge(paying(SOL, 1), UNSURE, other=LOSS)
    assert not verdict.withheld
    assert str(verdict) == (
        "On held-out data the update gains 0.3 points (95 % interval for a validator's result: -0.4 to 1.0). "
        "It is expected to earn 1 SOL."
    )


def test_without_a_reward_nothing_is_withheld_for_its_gain() -> None:
    assert not judge(HERE, LOSS).withheld
    assert not judge(HERE, SURE).withheld


def test_a_bar_of_the_users_own_replaces_the_comparison_with_the_fee() -> None:
    worthless = dataclasses.replace(paying(1, 10), min_gain=0.0)
    assert not judge(worthless, SURE).withheld
    assert judge(dataclasses.replace(paying(SOL, 1), min_gain=0.0), UNSURE).withheld


def test_what_surely_gains_passes_and_says_by_how_much() -> None:
    verdict = judge(CERTAIN, SURE)
    assert not verdict.withheld
    assert str(verdict) == (
        "On held-out data the update gains 70.0 points (95 % interval for a validator's result: 65.0 to 74.0)."
    )


@pytest.mark.parametrize(("least", "passes"), [(0.0, True), (0.64, True), (0.65, False), (0.7, False)])
def test_the_lower_end_counts_and_must_be_above_the_minimum(least: float, passes: bool) -> None:
    rules = dataclasses.replace(HERE, min_gain=least)
    verdict = judge(rules, SURE)
    assert (not verdict.withheld) is passes
    assert (f"update.min_gain={least:g}" in verdict.withheld) is not passes


def test_with_a_bar_a_gain_that_may_be_chance_is_withheld() -> None:
    verdict = judge(CERTAIN, UNSURE, other=LOSS)
    assert verdict.withheld == (
        "as this network's validators read it (delta), the update gains 0.3 points (95 % interval for a validator's "
        "result: -0.4 to 1.0), so a gain of more than 0 is not certain"
    )
    assert str(verdict) == f"Nothing will be submitted: {verdict.withheld}."


def test_a_trainer_that_writes_for_other_validators_is_told_so() -> None:
    verdict = judge(Rules("gradient", 0.1, "delta"), LOSS, other=SURE)
    assert verdict.withheld == (
        "as this network's validators read it (gradient, rate 0.1), the update loses 1.2 points (95 % interval for "
        "a validator's result: -3.1 to 0.7); read as delta, it would gain 70.0 points: set update.convention=gradient"
    )


def test_a_file_that_gains_in_the_reading_it_was_not_written_for_is_told_too() -> None:
    verdict = judge(HERE, LOSS, other=SURE)
    assert verdict.withheld.endswith(
        "it would gain 70.0 points: set network.convention=gradient if its validators read it that way"
    )


def test_a_file_is_misread_only_if_the_other_reading_is_clearly_better() -> None:
    slightly = Gain(0.8, 0.806, 0.001, 0.011, 1000)
    assert not judge(paying(SOL, 1), UNSURE, other=slightly).withheld
    misread = judge(paying(SOL, 1), LOSS, other=SURE)
    assert "it would gain 70.0 points" in misread.withheld
