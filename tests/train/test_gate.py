"""The gate passes certain gains, and gives the reason when it withholds an update."""

from __future__ import annotations

import dataclasses

import pytest

from decloud_pl.train.score.gate import Rules, Verdict, after_remedies, judge
from decloud_pl.train.score.scorer import Gain

SURE = Gain(0.1, 0.8, 0.65, 0.74, 1000)
UNSURE = Gain(0.8, 0.803, -0.004, 0.01, 1000)
LOSS = Gain(0.8, 0.788, -0.031, 0.007, 1000)
HERE = Rules("delta", 0.1, "delta")


def test_what_surely_gains_passes_and_says_by_how_much() -> None:
    verdict = judge(HERE, SURE)
    assert verdict.passed
    assert str(verdict) == (
        "On held-out data the update gains 70.0 points (95 % interval for a validator's result: 65.0 to 74.0)."
    )


@pytest.mark.parametrize(("least", "passes"), [(0.0, True), (0.64, True), (0.65, False), (0.7, False)])
def test_the_lower_end_counts_and_must_be_above_the_minimum(least: float, passes: bool) -> None:
    rules = dataclasses.replace(HERE, min_gain=least)
    verdict = judge(rules, SURE)
    assert verdict.passed is passes
    assert (f"update.min_gain={least:g}" in verdict.withheld) is not passes


def test_a_gain_that_may_be_chance_is_withheld() -> None:
    verdict = judge(HERE, UNSURE, other=LOSS)
    assert verdict.withheld == (
        "as this network's validators read it (delta), the update gains 0.3 points (95 % interval for a validator's "
        "result: -0.4 to 1.0), so a gain of more than 0 is not certain"
    )
    assert not verdict.misread
    assert str(verdict) == f"Nothing will be submitted: {verdict.withheld}."


def test_a_trainer_that_writes_for_other_validators_is_told_so() -> None:
    verdict = judge(Rules("gradient", 0.1, "delta"), LOSS, other=SURE)
    assert verdict.withheld == (
        "as this network's validators read it (gradient, rate 0.1), the update loses 1.2 points (95 % interval for "
        "a validator's result: -3.1 to 0.7); read as delta, it would gain 70.0 points: set update.convention=gradient"
    )
    assert verdict.misread


def test_a_file_that_gains_in_the_reading_it_was_not_written_for_is_told_too() -> None:
    verdict = judge(HERE, LOSS, other=SURE)
    assert verdict.withheld.endswith(
        "it would gain 70.0 points: set network.convention=gradient if its validators read it that way"
    )
    assert verdict.misread


def test_what_was_tried_in_vain_is_said() -> None:
    withheld = Verdict(LOSS, "it loses")
    assert after_remedies(withheld, ["scale"]).withheld == "it loses; scale did not help"
    assert after_remedies(withheld, ["scale", "average", "lower_rate"]).withheld == (
        "it loses; scale, average and lower_rate did not help"
    )
    assert after_remedies(withheld, []) == withheld
    assert after_remedies(Verdict(SURE), ["scale"]) == Verdict(SURE)
