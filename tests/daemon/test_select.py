"""Which rounds are joined, and the reason for each that is not."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from solders.pubkey import Pubkey

from decloud_pl.daemon.select import JOIN_COST, WALLET_MINIMUM, Criteria, Decision, Situation, select
from decloud_pl.domain import LAMPORTS_PER_SOL, Round, RoundStatus
from decloud_pl.errors import DatasetNotSupported

NOW = 5_000
ENOUGH = JOIN_COST + WALLET_MINIMUM
ANY = Criteria(datasets=(), min_reward=0, max_reward=0, max_concurrent_rounds=1)
ROUND = Round(
    id=1,
    creator=Pubkey.new_unique(),
    model_cid="bafy",
    dataset="custom",
    reward_amount=LAMPORTS_PER_SOL,
    status=RoundStatus.WAITING_TRAINERS,
    validator=Pubkey.new_unique(),
    validator_fee_bps=1000,
    baseline_score=0,
    created_at=0,
    validator_deadline=NOW,
    join_deadline=NOW,
    submit_deadline=0,
    trainers_count=0,
    submissions_count=0,
    bump=255,
    vault_bump=255,
)


def to_digits(name: str) -> str:
    if name == "custom":
        return "digits"
    raise DatasetNotSupported(f"The data set {name} is not supported.", fix="Map it.")


def decide(
    round_: Round = ROUND,
    criteria: Criteria = ANY,
    *,
    now: int = NOW,
    balance: int = ENOUGH,
    occupied_slots: int = 0,
) -> Decision:
    situation = Situation(now=now, balance=balance, occupied_slots=occupied_slots)
    return select(round_, criteria, situation, resolve=to_digits)


def test_a_round_that_fits_is_accepted_with_the_data_set_to_train_on() -> None:
    decision = decide()
    assert decision.accept
    assert decision.resolved_dataset == "digits"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"status": RoundStatus.TRAINING}, "training"),
        ({"join_deadline": NOW - 1}, "deadline"),
        ({"trainers_count": 10}, "ten trainers"),
        ({"dataset": "squad"}, "not supported"),
    ],
)
def test_what_can_never_fit_is_settled(changes: dict[str, Any], word: str) -> None:
    decision = decide(dataclasses.replace(ROUND, **changes))
    assert not decision.accept
    assert decision.settled
    assert word in decision.reason


def test_a_round_without_validator_may_fit_later() -> None:
    decision = decide(dataclasses.replace(ROUND, status=RoundStatus.WAITING_VALIDATOR))
    assert not decision.accept
    assert not decision.settled


def test_reward_limits_include_their_ends() -> None:
    exact = dataclasses.replace(ANY, min_reward=LAMPORTS_PER_SOL, max_reward=LAMPORTS_PER_SOL)
    assert decide(criteria=exact).accept
    assert "below" in decide(criteria=dataclasses.replace(ANY, min_reward=LAMPORTS_PER_SOL + 1)).reason
    assert "above" in decide(criteria=dataclasses.replace(ANY, max_reward=LAMPORTS_PER_SOL - 1)).reason


@pytest.mark.parametrize(("datasets", "accepted"), [(("custom",), True), (("digits",), True), (("mnist",), False)])
def test_data_sets_count_by_the_chains_name_or_the_mapped_one(datasets: tuple[str, ...], accepted: bool) -> None:
    assert decide(criteria=dataclasses.replace(ANY, datasets=datasets)).accept is accepted


def test_too_little_money_or_no_slot_may_change() -> None:
    poor = decide(balance=ENOUGH - 1)
    busy = decide(occupied_slots=1)
    assert not poor.accept
    assert not poor.settled
    assert "holds" in poor.reason
    assert not busy.accept
    assert not busy.settled
    assert decide(criteria=dataclasses.replace(ANY, max_concurrent_rounds=2), occupied_slots=1).accept
