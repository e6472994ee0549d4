"""Which rounds are joined, and why the others are not."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from solders.pubkey import Pubkey

from decloud_pl.chain.dialects import get_dialect
from decloud_pl.config import RewardsConfig, compose
from decloud_pl.config.schema import PartiesConfig
from decloud_pl.domain import LAMPORTS_PER_SOL, Round, RoundStatus, format_sol
from decloud_pl.errors import DatasetError, DatasetNotSupported
from decloud_pl.rounds.select import (
    WALLET_MINIMUM,
    Criteria,
    Decision,
    Situation,
    explain,
    join_cost,
    verdict,
)

NOW = 5_000
JOIN_COST = join_cost(get_dialect().submission_deposit, 100_000)
ENOUGH = JOIN_COST + WALLET_MINIMUM
SITUATION = Situation(now=NOW, balance=ENOUGH, occupied_slots=0)
ANY = Criteria(join_cost=JOIN_COST)
ROUND = Round(
    id=1,
    creator=Pubkey.new_unique(),
    model_cid="bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi",
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
    max_trainers=10,
)


def to_digits(name: str) -> str:
    if name == "custom":
        return "digits"
    raise DatasetNotSupported(f"The data set {name} is not supported.", fix="Map it.")


def resolved(name: str) -> str | DatasetError:
    try:
        return to_digits(name)
    except DatasetError as error:
        return error


def decide(
    round_: Round = ROUND,
    criteria: Criteria = ANY,
    *,
    now: int = NOW,
    balance: int = ENOUGH,
    occupied_slots: int = 0,
) -> Decision:
    situation = Situation(now=now, balance=balance, occupied_slots=occupied_slots)
    return select(round_, criteria, situation)


def select(round_: Round, criteria: Criteria, situation: Situation) -> Decision:
    return verdict(explain(round_, criteria, situation, dataset=resolved(round_.dataset)), "digits")


def test_a_round_that_fits_is_accepted_with_the_data_set_to_train_on() -> None:
    decision = decide()
    assert decision.accept
    assert decision.resolved_dataset == "digits"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"status": RoundStatus.TRAINING}, "training"),
        ({"join_deadline": NOW - 1}, "deadline"),
        ({"trainers_count": 10}, "10 trainers"),
        ({"dataset": "squad"}, "not supported"),
        ({"model_cid": "ipfs://Qm"}, "its model_cid: 'ipfs://Qm' is not a supported CID"),
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
    assert decide(criteria=Criteria(rewards=RewardsConfig(min="1", max="1"))).accept
    assert "below" in decide(criteria=Criteria(rewards=RewardsConfig(min="1.000000001"))).reason
    assert "above" in decide(criteria=Criteria(rewards=RewardsConfig(max="0.999999999"))).reason


def test_a_reward_counts_without_what_the_treasury_takes() -> None:
    taxed = dataclasses.replace(ROUND, treasury_fee_bps=200)
    assert decide(taxed, Criteria(rewards=RewardsConfig(min="0.98", max="0.98"))).accept
    assert "reward of 0.98 SOL is below" in decide(taxed, Criteria(rewards=RewardsConfig(min="0.980000001"))).reason
    assert "reward of 0.98 SOL is above" in decide(taxed, Criteria(rewards=RewardsConfig(max="0.979999999"))).reason
    # After an upgrade or the detection of the revision, the treasury may take no fee.
    between = decide(taxed, Criteria(rewards=RewardsConfig(min="0.99")))
    assert (between.accept, between.settled) == (False, False)
    assert decide(taxed, Criteria(rewards=RewardsConfig(min="1.000000001"))).settled
    profit = 441_000_000 - JOIN_COST  # half of the trainers' 0.9 SOL, less 2 %
    for least, fits in ((profit, True), (profit + 1, False)):
        rewards = RewardsConfig(min_profit=format_sol(least).removesuffix(" SOL"))
        criteria = dataclasses.replace(ANY, rewards=rewards)
        assert decide(dataclasses.replace(taxed, trainers_count=1), criteria).accept is fits


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


def test_explain_names_every_check_in_the_order_that_decides() -> None:
    checks = tuple(explain(ROUND, ANY, SITUATION, dataset="digits"))
    assert [check.name for check in checks] == [
        "program",
        "status",
        "join deadline",
        "trainers",
        "minimum reward",
        "maximum reward",
        "validator",
        "completed rounds",
        "creator",
        "data set",
        "model CID",
        "wanted data sets",
        "speed",
        "expected profit",
        "balance",
        "daily cap",
        "slots",
    ]
    assert all(check.passed and check.detail for check in checks)


def test_the_first_failed_check_is_the_reason_unless_a_later_one_settles_it() -> None:
    waiting = dataclasses.replace(ROUND, status=RoundStatus.WAITING_VALIDATOR)
    decision = decide(waiting, occupied_slots=1)
    assert (decision.reason, decision.settled) == ("no validator has claimed it yet", False)
    decision = decide(waiting, Criteria(rewards=RewardsConfig(min="2")))
    assert "below your minimum" in decision.reason  # the reward of a round never grows
    assert (decision.settled, decision.passing) == (True, False)


def test_a_round_that_no_validator_can_claim_any_more_is_settled() -> None:
    waiting = dataclasses.replace(ROUND, status=RoundStatus.WAITING_VALIDATOR, validator_deadline=NOW - 1)
    assert decide(waiting).settled


@pytest.mark.parametrize(("window", "accepted"), [(None, True), (124, False), (125, True), (1000, True)])
def test_a_machine_that_is_too_slow_does_not_join(window: int | None, accepted: bool) -> None:
    situation = dataclasses.replace(SITUATION, train_seconds={"digits": 100.0}, submit_window=window)
    decision = select(ROUND, ANY, situation)
    assert decision.accept is accepted
    assert accepted or "a training takes 100 s on this machine, and rounds leave 124 s" in decision.reason
    assert not decision.settled


def test_a_training_that_adapts_to_the_time_is_never_too_slow() -> None:
    situation = dataclasses.replace(SITUATION, train_seconds={"digits": 100.0}, submit_window=100)
    assert not select(ROUND, ANY, situation).accept
    assert select(ROUND, dataclasses.replace(ANY, adapts=True), situation).accept


def test_a_join_that_would_come_too_late_is_not_sent() -> None:
    soon = dataclasses.replace(ROUND, join_deadline=NOW + 3)
    assert select(soon, ANY, dataclasses.replace(SITUATION, join_seconds=3.0)).accept
    late = select(soon, ANY, dataclasses.replace(SITUATION, join_seconds=3.5))
    assert (late.accept, late.settled) == (False, True)


def test_the_daily_cap_counts_what_the_round_may_take() -> None:
    criteria = dataclasses.replace(ANY, daily_cap=10_000_000)
    room = dataclasses.replace(SITUATION, spent=10_000_000 - JOIN_COST)
    assert select(ROUND, criteria, room).accept
    full = select(ROUND, criteria, dataclasses.replace(room, spent=room.spent + 1))
    assert not full.accept
    assert not full.settled
    assert "daily cap" in full.reason


def test_the_expected_profit_is_share_less_costs_less_energy() -> None:
    # 0.9 SOL for two trainers, less the costs and the energy: 2 kW for half an hour at 0.1 SOL per kWh
    profit = 450_000_000 - JOIN_COST - 100_000_000
    round_ = dataclasses.replace(ROUND, trainers_count=1)
    situation = dataclasses.replace(SITUATION, train_seconds={"digits": 1800.0})
    exact, above = (
        Criteria(
            rewards=RewardsConfig(min_profit=format_sol(least).removesuffix(" SOL"), watts=2000, sol_per_kwh="0.1"),
            join_cost=JOIN_COST,
        )
        for least in (profit, profit + 1)
    )
    assert select(round_, exact, situation).accept
    more = select(round_, above, situation)
    assert not more.accept
    assert "as one of 2" in more.reason


@pytest.mark.parametrize(("setting", "accepted"), [((), False), (("rewards=any",), True)])
def test_rounds_that_pay_less_than_a_join_costs_are_left_out_by_default(
    setting: tuple[str, ...], accepted: bool
) -> None:
    criteria = Criteria(rewards=compose(setting).rewards, join_cost=JOIN_COST)
    assert decide(ROUND, criteria).accept
    decision = decide(dataclasses.replace(ROUND, reward_amount=2 * JOIN_COST, trainers_count=2), criteria)
    assert decision.accept is accepted
    if not accepted:
        assert "its expected profit is -" in decision.reason


VALIDATOR, CREATOR = str(ROUND.validator), str(ROUND.creator)


@pytest.mark.parametrize(
    ("validators", "creators", "reason"),
    [
        (PartiesConfig(block=[VALIDATOR]), PartiesConfig(), f"validator {VALIDATOR} is in rewards.validators.block"),
        (PartiesConfig(allow=[CREATOR]), PartiesConfig(), f"validator {VALIDATOR} is not in rewards.validators.allow"),
        (PartiesConfig(), PartiesConfig(block=[CREATOR]), f"creator {CREATOR} is in rewards.creators.block"),
        (PartiesConfig(), PartiesConfig(allow=[VALIDATOR]), f"creator {CREATOR} is not in rewards.creators.allow"),
        (PartiesConfig([VALIDATOR], [CREATOR]), PartiesConfig([CREATOR], [VALIDATOR]), ""),
    ],
)
def test_rules_for_addresses_name_the_rule_and_the_remedy(
    validators: PartiesConfig, creators: PartiesConfig, reason: str
) -> None:
    decision = decide(criteria=Criteria(rewards=RewardsConfig(validators=validators, creators=creators)))
    assert (decision.accept, decision.settled) == (not reason, bool(reason))
    assert reason in decision.reason
    assert not reason or "to join its rounds" in decision.reason


def test_a_rule_for_validators_waits_for_the_validator_and_one_for_creators_does_not() -> None:
    waiting = dataclasses.replace(ROUND, status=RoundStatus.WAITING_VALIDATOR, validator=None)
    rules = RewardsConfig(validators=PartiesConfig(allow=[CREATOR]), min_completion=1.0)
    assert decide(waiting, Criteria(rewards=rules)).passing
    blocked = decide(waiting, Criteria(rewards=RewardsConfig(creators=PartiesConfig(block=[CREATOR]))))
    assert (blocked.settled, "rewards.creators.block" in blocked.reason) == (True, True)


@pytest.mark.parametrize(
    ("known", "accepted"),
    [((0, 4), True), ((0, 5), False), ((3, 5), False), ((4, 5), True), ((799, 1_000), False), ((800, 1_000), True)],
)
def test_a_validator_is_judged_by_its_completed_rounds_once_enough_are_known(
    known: tuple[int, int], accepted: bool
) -> None:
    situation = dataclasses.replace(SITUATION, completion={VALIDATOR: known})
    decision = select(ROUND, Criteria(rewards=RewardsConfig(min_completion=0.8)), situation)
    assert (decision.accept, decision.settled) == (accepted, False)
    if not accepted:
        done, ended = known
        assert f"completed {done} of {ended} rounds; rewards.min_completion is 0.8, lower it" in decision.reason
    assert select(ROUND, ANY, situation).accept
