"""The compute units of each instruction. They stay far below the default budget of 200,000 units."""

from __future__ import annotations

from tests.localnet.program.conftest import LifeFactory, Ready

# Measured and rounded up to the next thousand, with a reserve for three more attempts at finding an address.
LIMITS = {
    "initialize": 12_000,
    "create_round": 20_000,
    "cancel_round": 9_000,
    "claim_round": 8_000,
    "join_round": 17_000,
    "start_training": 7_000,
    "submit_gradients": 12_000,
    "set_contribution": 8_000,
    "complete_validation": 13_000,
    "finalize_round": 12_000,
    "claim_reward": 17_000,
    "claim_validator_fee": 15_000,
    "check_round": 9_000,
    "abort_round": 11_000,
}


def test_compute_units_stay_small(each_ready: tuple[str, Ready]) -> None:
    name, ready = each_ready
    outcome = ready.send()
    assert outcome.error is None
    assert outcome.compute_units < LIMITS[name]


def test_ten_results_at_once_stay_small_too(new_life: LifeFactory) -> None:
    life = new_life(trainers=10).validating()
    outcome = life.chain.must(life.finalize(*((who, 1000) for who in life.trainers)), life.validator)
    assert outcome.compute_units < 50_000
    assert outcome.events[0].round_id == 0
    assert all(life.chain.submission(0, who).contribution_bps == 1000 for who in life.trainers)
