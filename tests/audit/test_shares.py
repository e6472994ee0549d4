"""The fair shares, and how much of a difference the size of the test split explains."""

from __future__ import annotations

import numpy as np
import pytest

from decloud_pl.audit.shares import fair_shares, float_noise, sampling_noise
from decloud_pl.localnet.agents.oracle import shares
from decloud_pl.rounds.scoring import Score

CASES = [[300, 100], [0, 0, 0], [-5, -7], [1, 1, 1], [0, 3, -2, 4], [7], [-7], [10] * 10]


@pytest.mark.parametrize("gains", CASES)
def test_the_rule_is_that_of_the_networks_own_validator(gains: list[int]) -> None:
    theirs = shares(1000, {str(place): 1000 + gain for place, gain in enumerate(gains)})
    assert fair_shares(gains) == list(theirs.values())


def test_a_file_that_only_the_validator_can_open_shares_when_nobody_gained() -> None:
    assert fair_shares([-1], also_valid=1) == [5000, 5000]
    assert fair_shares([3], also_valid=1) == [10_000, 0]


def test_without_ties_only_the_rounding_may_differ() -> None:
    assert float_noise([300, 100], Score(500, 0), [Score(800, 0), Score(600, 0)]) == [2, 2]
    assert all(10 < noise < 1000 for noise in float_noise([300, 100], Score(500, 9), [Score(800, 9), Score(600, 9)]))


def test_a_gain_of_one_tie_may_change_everything() -> None:
    assert float_noise([1, 0], Score(500, 4), [Score(501, 4), Score(500, 4)]) == [10_000, 10_000]


@pytest.mark.parametrize(("samples", "reach"), [(359, 2500), (10_000, 450)])
def test_shares_on_other_samples_stay_within_the_noise(samples: int, reach: int) -> None:
    """Two samples of one population: the shares of one stay within the noise that the other one shows."""
    chance = np.random.default_rng(3)

    def measure() -> tuple[list[int], list[list[int]]]:
        base = chance.random(samples) < 0.5
        updates = [np.where(chance.random(samples) < part, True, base) for part in (0.6, 0.3, 0.3)]
        changes = np.stack([update.astype(int) - base for update in updates])
        return [int(gain) for gain in changes.sum(1)], (changes @ changes.T).tolist()

    outside = 0
    for _ in range(15):
        gains, products = measure()
        noise = sampling_noise(gains, products, samples)
        assert max(noise) <= reach
        others, _ = measure()
        outside += any(
            abs(one - other) > most
            for one, other, most in zip(fair_shares(gains), fair_shares(others), noise, strict=True)
        )
    assert outside <= 1


def test_equal_updates_vary_together() -> None:
    assert sampling_noise([50, 50], [[60, 60], [60, 60]], 1000) == [0, 0]
