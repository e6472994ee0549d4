"""Every rule of the protocol that a sender can break, and its error."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from solders.instruction import Instruction
from solders.keypair import Keypair

from decloud_pl.chain.anchor import ALREADY_IN_USE
from decloud_pl.chain.dialects.v1_0.errors import ErrorCode
from tests.localnet.program.conftest import Life, LifeFactory, Outcome

SYSTEM_INSUFFICIENT_FUNDS = 1


def refused(outcome: Outcome, code: ErrorCode) -> None:
    assert outcome.code == code, "\n".join(outcome.logs)
    assert outcome.anchor_error == (None, code.name, code.value)
    assert outcome.events == ()


@pytest.mark.parametrize("length", [0, 1, 45, 65, 200])
def test_a_cid_has_46_to_64_characters(life: Life, length: int) -> None:
    life.chain.must(life.initialize(), life.creator)
    refused(life.chain.send(life.create(cid="b" * length), life.creator), ErrorCode.InvalidCid)


@pytest.mark.parametrize("length", [45, 65])
def test_a_submitted_cid_has_46_to_64_characters(life: Life, length: int) -> None:
    trainer = life.training().trainers[0]
    refused(life.chain.send(life.submit(trainer, "b" * length), trainer), ErrorCode.InvalidCid)


@pytest.mark.parametrize("length", [46, 64])
def test_the_shortest_and_the_longest_cid_are_taken(life: Life, length: int) -> None:
    cid = "b" * length
    life.chain.must(life.initialize(), life.creator)
    life.chain.must(life.create(cid=cid), life.creator)
    life.chain.must([life.claim(), life.join(life.trainers[0]), life.start()], life.validator, life.trainers[0])
    life.chain.must(life.submit(life.trainers[0], cid), life.trainers[0])
    assert life.chain.round(0).model_cid == cid
    assert life.chain.submission(0, life.trainers[0]).gradient_cid == cid


def test_a_reward_is_more_than_zero(life: Life) -> None:
    life.chain.must(life.initialize(), life.creator)
    refused(life.chain.send(life.create(reward=0), life.creator), ErrorCode.ZeroReward)


@pytest.mark.parametrize("round_id", [0, 2, 2**64 - 1])
def test_a_round_takes_the_next_number(life: Life, round_id: int) -> None:
    life.posted()
    refused(life.chain.send(life.create(round_id), life.creator), ErrorCode.InvalidRoundId)
    assert life.chain.counter().count == 1


@pytest.mark.parametrize("reward", [10**12, 2**64 - 1])
def test_a_reward_the_creator_does_not_have_is_refused_by_the_system_program(life: Life, reward: int) -> None:
    life.chain.must(life.initialize(), life.creator)
    outcome = life.chain.send(life.create(reward=reward), life.creator)
    assert outcome.code == SYSTEM_INSUFFICIENT_FUNDS
    assert life.chain.counter().count == 0


def test_the_counter_is_made_once(life: Life) -> None:
    life.chain.must(life.initialize(), life.creator)
    outcome = life.chain.send(life.initialize(), life.creator)
    assert outcome.code == ALREADY_IN_USE
    assert any("already in use" in line for line in outcome.logs)


def test_a_second_join_is_refused_by_the_system_program(life: Life) -> None:
    trainer = life.joined().trainers[0]
    outcome = life.chain.send(life.join(trainer), trainer)
    assert outcome.code == ALREADY_IN_USE
    assert any("already in use" in line for line in outcome.logs)
    assert life.chain.round(0).trainers_count == 2


def test_a_claimed_round_cannot_be_cancelled(life: Life) -> None:
    refused(life.open().chain.send(life.cancel(), life.creator), ErrorCode.CannotCancel)


def test_a_round_is_cancelled_once(life: Life) -> None:
    life.posted().chain.must(life.cancel(), life.creator)
    refused(life.chain.send(life.cancel(), life.creator), ErrorCode.CannotCancel)


def test_a_round_is_claimed_once(life: Life) -> None:
    other = life.open().chain.wallet("other")
    claim = life.dialect.claim_round(0, validator=other.pubkey())
    refused(life.chain.send(claim, other), ErrorCode.RoundNotWaitingValidator)


def test_a_late_claim_is_refused(life: Life) -> None:
    life.posted().chain.advance(3601)
    refused(life.chain.send(life.claim(), life.validator), ErrorCode.ValidatorDeadlinePassed)


def test_nobody_joins_before_the_claim_or_after_the_start(new_life: LifeFactory) -> None:
    for life in (new_life().posted(), new_life(trainers=1).training()):
        late = life.chain.wallet("late")
        refused(life.chain.send(life.join(late), late), ErrorCode.RoundNotWaitingTrainers)


def test_a_late_join_is_refused(life: Life) -> None:
    life.open().chain.advance(601)
    trainer = life.trainers[0]
    refused(life.chain.send(life.join(trainer), trainer), ErrorCode.JoinDeadlinePassed)


def test_ten_trainers_join_and_the_eleventh_is_refused(new_life: LifeFactory) -> None:
    life = new_life(trainers=10).joined()
    eleventh = life.chain.wallet("eleventh")
    refused(life.chain.send(life.join(eleventh), eleventh), ErrorCode.MaxTrainersReached)
    assert life.chain.round(0).trainers_count == 10


def test_training_needs_a_trainer(life: Life) -> None:
    refused(life.open().chain.send(life.start(), life.validator), ErrorCode.NoTrainers)


def test_training_starts_once(life: Life) -> None:
    refused(life.training().chain.send(life.start(), life.validator), ErrorCode.RoundNotWaitingTrainers)


def test_nobody_submits_before_the_start(life: Life) -> None:
    trainer = life.joined().trainers[0]
    refused(life.chain.send(life.submit(trainer), trainer), ErrorCode.RoundNotTraining)


def test_a_late_submission_is_refused(life: Life) -> None:
    trainer = life.training().trainers[0]
    life.chain.advance(3601)
    refused(life.chain.send(life.submit(trainer), trainer), ErrorCode.SubmitDeadlinePassed)


def test_a_trainer_submits_once(life: Life) -> None:
    trainer = life.training().trainers[0]
    life.chain.must(life.submit(trainer), trainer)
    refused(life.chain.send(life.submit(trainer, "b" * 46), trainer), ErrorCode.AlreadySubmitted)


def test_shares_are_given_during_validation_only(new_life: LifeFactory) -> None:
    for life in (new_life().training(), new_life().completed()):
        first, second = life.trainers
        for instruction in (
            life.contribute(first, 1),
            life.complete(),
            life.finalize((first, 5000), (second, 5000)),
        ):
            refused(life.chain.send(instruction, life.validator), ErrorCode.RoundNotValidating)


def test_who_did_not_submit_gets_no_share(life: Life) -> None:
    first, second = life.training().trainers
    life.chain.must(life.submit(first), first)
    life.chain.advance(3601)
    life.chain.must(life.check(), life.creator)
    refused(life.chain.send(life.contribute(second, 1), life.validator), ErrorCode.NotSubmitted)
    finalize = life.finalize((first, 5000), (second, 5000))
    refused(life.chain.send(finalize, life.validator), ErrorCode.NotSubmitted)
    life.chain.must(life.finalize((first, 10_000)), life.validator)
    refused(life.chain.send(life.reward_claim(second), second), ErrorCode.NotSubmitted)


@pytest.mark.parametrize("bps", [10_001, 65_535])
def test_a_share_is_at_most_everything(life: Life, bps: int) -> None:
    contribute = life.validating().contribute(life.trainers[0], bps)
    refused(life.chain.send(contribute, life.validator), ErrorCode.InvalidContributionSum)


@pytest.mark.parametrize("shares", [(5000, 4999), (5000, 5001), (65_535, 10_001), (0, 0), (10_000,) * 2])
def test_final_shares_sum_to_everything(life: Life, shares: tuple[int, int]) -> None:
    life.validating()
    finalize = life.finalize(*zip(life.trainers, shares, strict=True))
    refused(life.chain.send(finalize, life.validator), ErrorCode.InvalidContributionSum)
    assert life.chain.submission(0, life.trainers[0]).contribution_bps == 0


def test_final_results_are_not_empty(life: Life) -> None:
    refused(life.validating().chain.send(life.finalize(), life.validator), ErrorCode.InvalidContributionSum)


def test_a_trainer_has_one_final_result(life: Life) -> None:
    first = life.validating().trainers[0]
    finalize = life.finalize((first, 5000), (first, 5000))
    refused(life.chain.send(finalize, life.validator), ErrorCode.InvalidContributionSum)


def test_a_round_has_at_most_ten_final_results(life: Life) -> None:
    life.validating()
    people = [*life.trainers, *(life.chain.wallet(f"nobody {number}") for number in range(9))]
    finalize = life.finalize(*((person, 909) for person in people))
    refused(life.chain.send(finalize, life.validator), ErrorCode.InvalidContributionSum)


def test_rewards_and_fee_wait_for_completion(life: Life) -> None:
    trainer = life.validating().trainers[0]
    refused(life.chain.send(life.reward_claim(trainer), trainer), ErrorCode.RoundNotCompleted)
    refused(life.chain.send(life.fee_claim(), life.validator), ErrorCode.RoundNotCompleted)


def test_a_reward_is_paid_once(life: Life) -> None:
    trainer = life.completed().trainers[0]
    life.chain.must(life.reward_claim(trainer), trainer)
    refused(life.chain.send(life.reward_claim(trainer), trainer), ErrorCode.RewardAlreadyClaimed)


def test_no_share_no_reward(life: Life) -> None:
    life.completed(10_000, 0)
    trainer = life.trainers[1]
    refused(life.chain.send(life.reward_claim(trainer), trainer), ErrorCode.NoContribution)


def test_the_fee_is_paid_once(new_life: LifeFactory) -> None:
    by_completion, by_claim = new_life().completed(), new_life().finalized()
    by_claim.chain.must(by_claim.fee_claim(), by_claim.validator)
    for life in (by_completion, by_claim):
        refused(life.chain.send(life.fee_claim(), life.validator), ErrorCode.FeeAlreadyClaimed)


ByAnother = Callable[[Life, Keypair], Instruction]
VALIDATOR_ONLY: dict[str, tuple[str, ByAnother]] = {
    "start_training": (
        "joined",
        lambda life, other: life.dialect.start_training(0, validator=other.pubkey(), baseline_score=1),
    ),
    "set_contribution": (
        "validating",
        lambda life, other: life.dialect.set_contribution(
            0, validator=other.pubkey(), trainer=life.trainers[0].pubkey(), contribution_bps=1
        ),
    ),
    "complete_validation": (
        "validating",
        lambda life, other: life.dialect.complete_validation(0, validator=other.pubkey()),
    ),
    "finalize_round": (
        "validating",
        lambda life, other: life.dialect.finalize_round(
            0, validator=other.pubkey(), results=[(life.trainers[0].pubkey(), 10_000)]
        ),
    ),
    "claim_validator_fee": (
        "finalized",
        lambda life, other: life.dialect.claim_validator_fee(0, validator=other.pubkey()),
    ),
}


@pytest.mark.parametrize("name", VALIDATOR_ONLY)
@pytest.mark.parametrize("who", ["stranger", "creator", "trainer 0"])
def test_only_the_rounds_validator_validates(life: Life, name: str, who: str) -> None:
    state, instruction = VALIDATOR_ONLY[name]
    getattr(life, state)()
    other = life.chain.wallet(who)
    refused(life.chain.send(instruction(life, other), other), ErrorCode.NotValidator)


def test_an_unclaimed_round_has_no_validator_at_all(life: Life) -> None:
    refused(life.posted().chain.send(life.start(), life.validator), ErrorCode.NotValidator)
