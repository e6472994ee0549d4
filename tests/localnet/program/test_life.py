"""All courses that a round can take, with every account field, event and log line."""

from __future__ import annotations

from solders.pubkey import Pubkey

from decloud_pl.chain.dialects.v1_0.events import (
    ExpireReason,
    RoundCancelled,
    RoundCreated,
    RoundExpired,
    RoundFinalized,
    TrainingEnded,
    TrainingStarted,
    ValidatorClaimed,
    ValidatorFeeClaimed,
)
from decloud_pl.chain.events import GradientsSubmitted, RewardClaimed, TrainerJoined, ValidationCompleted
from decloud_pl.domain import Round, RoundStatus, Submission
from tests.localnet.program.conftest import GRADIENT_CID, MODEL_CID, REWARD, START, Chain, Life, each_revision

pytestmark = each_revision
FEE = 100_000_000
POOL = 900_000_007


def test_initialize_makes_the_counter(chain: Chain) -> None:
    authority = chain.wallet("authority")
    chain.must(chain.dialect.initialize(authority.pubkey()), authority)
    counter = chain.counter()
    assert (counter.count, counter.authority) == (0, authority.pubkey())


def test_a_posted_round_has_every_field(life: Life) -> None:
    life.chain.must(life.initialize(), life.creator)
    outcome = life.chain.must(life.create(), life.creator)
    created = life.chain.round(0)
    assert created == Round(
        id=0,
        creator=life.creator.pubkey(),
        model_cid=MODEL_CID,
        dataset="fashionmnist",
        reward_amount=REWARD,
        status=RoundStatus.WAITING_VALIDATOR,
        validator=None,
        validator_fee_bps=1000,
        baseline_score=0,
        created_at=START,
        validator_deadline=START + 3600,
        join_deadline=0,
        submit_deadline=0,
        trainers_count=0,
        submissions_count=0,
        bump=created.bump,
        vault_bump=created.vault_bump,
        max_trainers=10,
        treasury_fee_bps=life.dialect.treasury_fee_bps,
    )
    for seed, bump in ((b"round", created.bump), (b"vault", created.vault_bump)):
        assert Pubkey.find_program_address([seed, bytes(8)], life.dialect.program_id)[1] == bump
    assert life.chain.counter().count == 1
    assert outcome.events == (RoundCreated(0, life.creator.pubkey(), MODEL_CID, "fashionmnist", REWARD, START + 3600),)
    assert outcome.text_lines == (
        f"Round 0 created. Model: {MODEL_CID}, Dataset: FashionMnist, Reward: {REWARD} lamports",
    )


def test_accounts_have_room_for_the_longest_cid_and_no_more(life: Life) -> None:
    """A Round has one extra byte, which stores whether the validator's fee is paid."""
    trainer = life.joined().trainers[0]
    assert len(life.chain.data(life.dialect.round_counter_address())) == 49
    assert len(life.chain.data(life.dialect.round_address(0))) == 200 + 1
    assert len(life.chain.data(life.dialect.submission_address(0, trainer.pubkey()))) == 121


def test_claim_opens_the_round_for_trainers(life: Life) -> None:
    life.posted().chain.advance(3600)  # the deadline itself is still in time
    outcome = life.chain.must(life.claim(), life.validator)
    claimed, validator = life.chain.round(0), life.validator.pubkey()
    deadline = START + 3600 + 600
    assert (claimed.status, claimed.validator, claimed.join_deadline) == (
        RoundStatus.WAITING_TRAINERS,
        validator,
        deadline,
    )
    assert outcome.events == (ValidatorClaimed(0, validator, deadline),)
    assert outcome.text_lines == (f"Round 0 claimed by validator {validator}. Join deadline: {deadline}",)


def test_join_makes_a_submission_account_the_trainer_pays_for(life: Life) -> None:
    trainer = life.trainers[0]
    life.open().chain.advance(600)
    before = life.chain.balance(trainer.pubkey())
    outcome = life.chain.must(life.join(trainer), trainer)
    address = life.dialect.submission_address(0, trainer.pubkey())
    rent = life.chain.svm.minimum_balance_for_rent_exemption(len(life.chain.data(address)))
    submission = life.chain.submission(0, trainer)
    assert submission == Submission(0, trainer.pubkey(), "", False, 0, False, submission.bump)
    assert life.chain.round(0).trainers_count == 1
    assert before - life.chain.balance(trainer.pubkey()) == rent + outcome.fee
    assert life.chain.balance(address) == rent
    assert outcome.events == (TrainerJoined(0, trainer.pubkey(), 1),)
    assert outcome.text_lines == (f"Trainer {trainer.pubkey()} joined round 0. Total trainers: 1",)


def test_start_sets_baseline_and_deadline(life: Life) -> None:
    life.joined().chain.advance(10_000)  # a validator may start late
    outcome = life.chain.must(life.start(8765), life.validator)
    started = life.chain.round(0)
    deadline = START + 10_000 + 3600
    assert (started.status, started.baseline_score, started.submit_deadline) == (
        RoundStatus.TRAINING,
        8765,
        deadline,
    )
    assert outcome.events == (TrainingStarted(0, 8765, deadline, 2),)
    assert outcome.text_lines == (f"Training started for round 0. Baseline: 8765, Submit deadline: {deadline}",)


def test_the_last_submission_ends_the_training(life: Life) -> None:
    life.training().chain.advance(3600)
    first, second = life.trainers
    outcome = life.chain.must(life.submit(first), first)
    assert outcome.events == (GradientsSubmitted(0, first.pubkey(), GRADIENT_CID, 1),)
    assert outcome.text_lines == (f"Trainer {first.pubkey()} submitted gradients for round 0. CID: {GRADIENT_CID}",)
    assert life.chain.round(0).status is RoundStatus.TRAINING
    submission = life.chain.submission(0, first)
    assert (submission.submitted, submission.gradient_cid) == (True, GRADIENT_CID)

    outcome = life.chain.must(life.submit(second), second)
    assert outcome.events == (
        GradientsSubmitted(0, second.pubkey(), GRADIENT_CID, 2),
        TrainingEnded(0, 2),
    )
    assert outcome.text_lines[1] == "All 2 trainers submitted. Moving to validation."
    assert life.chain.round(0).status is RoundStatus.VALIDATING


def test_completion_pays_the_fee_and_opens_the_rewards(life: Life) -> None:
    life.validating()
    first, second = life.trainers
    for trainer, bps in ((first, 1), (first, 6000), (second, 4000)):  # a share may be corrected
        outcome = life.chain.must(life.contribute(trainer, bps), life.validator)
        assert (outcome.events, outcome.text_lines) == ((), ())
        assert life.chain.submission(0, trainer).contribution_bps == bps
    before = life.chain.balance(life.validator.pubkey())
    outcome = life.chain.must(life.complete(), life.validator)
    assert life.chain.balance(life.validator.pubkey()) - before == life.net(FEE) - outcome.fee
    assert life.chain.round(0).status is RoundStatus.COMPLETED
    assert outcome.events == (ValidationCompleted(0),)
    assert outcome.text_lines == ("Round 0 validation completed. Rewards ready to claim.",)

    for trainer, bps in ((first, 6000), (second, 4000)):
        amount = POOL * bps // 10_000
        before = life.chain.balance(trainer.pubkey())
        outcome = life.chain.must(life.reward_claim(trainer), trainer)
        assert life.chain.balance(trainer.pubkey()) - before == life.net(amount) - outcome.fee
        assert life.chain.submission(0, trainer).reward_claimed
        (event,) = outcome.events
        assert isinstance(event, RewardClaimed)
        assert (event.round_id, event.trainer, event.amount) == (0, trainer.pubkey(), life.net(amount))
        assert outcome.text_lines == (f"Trainer {trainer.pubkey()} claimed {life.net(amount)} lamports from round 0",)


def test_finalize_sets_all_shares_at_once_and_leaves_the_fee_to_be_claimed(life: Life) -> None:
    life.validating()
    first, second = life.trainers
    outcome = life.chain.must(life.finalize((second, 2500), (first, 7500)), life.validator)
    assert outcome.events == (RoundFinalized(0, FEE, POOL, ((second.pubkey(), 2500), (first.pubkey(), 7500))),)
    assert outcome.text_lines == ()
    assert life.chain.round(0).status is RoundStatus.COMPLETED
    assert life.chain.submission(0, first).contribution_bps == 7500
    assert life.chain.submission(0, second).contribution_bps == 2500

    validator = life.validator.pubkey()
    before = life.chain.balance(validator)
    outcome = life.chain.must(life.fee_claim(), life.validator)
    assert life.chain.balance(validator) - before == life.net(FEE) - outcome.fee
    (event,) = outcome.events
    assert isinstance(event, ValidatorFeeClaimed)
    assert (event.round_id, event.validator, event.amount) == (0, validator, life.net(FEE))
    assert outcome.text_lines == (f"Validator {validator} claimed {life.net(FEE)} lamports fee from round 0",)


def test_the_creator_can_take_an_unclaimed_round_back(life: Life) -> None:
    before = life.posted().chain.balance(life.creator.pubkey())
    vault = life.chain.vault(0)
    outcome = life.chain.must(life.cancel(), life.creator)
    assert life.chain.round(0).status is RoundStatus.CANCELLED
    assert life.chain.vault(0) == 0
    assert life.chain.balance(life.creator.pubkey()) - before == vault - outcome.fee
    assert outcome.events == (RoundCancelled(0),)
    assert outcome.text_lines == (f"Round 0 cancelled. Refunded {REWARD} lamports to creator",)


def expired(life: Life, reason: ExpireReason, words: str) -> None:
    stranger = life.chain.wallet("stranger")
    before, vault = life.chain.balance(life.creator.pubkey()), life.chain.vault(0)
    outcome = life.chain.must(life.check(), stranger)
    assert life.chain.round(0).status is RoundStatus.EXPIRED
    assert life.chain.vault(0) == 0
    assert life.chain.balance(life.creator.pubkey()) - before == vault
    assert outcome.events == (RoundExpired(0, reason, REWARD),)
    assert outcome.text_lines == (f"Round 0 expired ({words}). Refunded {REWARD} to creator",)


def untouched_by_check(life: Life) -> None:
    """Nothing is due: the instruction succeeds and changes nothing."""
    stranger = life.chain.wallet("stranger")
    before = life.chain.round(0), life.chain.vault(0), life.chain.balance(life.creator.pubkey())
    outcome = life.chain.must(life.check(), stranger)
    assert before == (
        life.chain.round(0),
        life.chain.vault(0),
        life.chain.balance(life.creator.pubkey()),
    )
    assert (outcome.events, outcome.text_lines) == ((), ())


def test_a_round_nobody_validates_expires(life: Life) -> None:
    life.posted().chain.advance(3600)
    untouched_by_check(life)
    life.chain.advance(1)
    expired(life, ExpireReason.NO_VALIDATOR, "no validator")


def test_a_round_nobody_joins_expires(life: Life) -> None:
    life.open().chain.advance(600)
    untouched_by_check(life)
    life.chain.advance(1)
    expired(life, ExpireReason.NO_TRAINERS, "no trainers")


def test_a_round_whose_validator_never_starts_expires(life: Life) -> None:
    life.joined().chain.advance(600 + 3600)
    untouched_by_check(life)
    life.chain.advance(1)
    expired(life, ExpireReason.NO_VALIDATOR, "no validator")


def test_a_round_whose_validator_never_scores_expires(life: Life) -> None:
    life.validating().chain.advance(3600 + 7 * 24 * 3600)
    untouched_by_check(life)
    life.chain.advance(1)
    expired(life, ExpireReason.NO_VALIDATOR, "no validator")


def test_a_late_validator_starts_and_scores_until_somebody_checks(life: Life) -> None:
    life.joined().chain.advance(10**6)
    life.chain.must(life.start(), life.validator)
    for trainer in life.trainers:
        life.chain.must(life.submit(trainer), trainer)
    life.chain.advance(10**7)
    life.chain.must(life.complete(), life.validator)


def test_a_round_nobody_submits_to_expires(life: Life) -> None:
    life.training().chain.advance(3600)
    untouched_by_check(life)
    life.chain.advance(1)
    expired(life, ExpireReason.NO_SUBMISSIONS, "no submissions")


def test_a_round_with_some_submissions_goes_on_to_validation(life: Life) -> None:
    life.training().chain.must(life.submit(life.trainers[0]), life.trainers[0])
    life.chain.advance(3601)
    outcome = life.chain.must(life.check(), life.chain.wallet("stranger"))
    assert life.chain.round(0).status is RoundStatus.VALIDATING
    assert outcome.events == (TrainingEnded(0, 1),)
    assert outcome.text_lines == ()
    life.chain.must(life.finalize((life.trainers[0], 10_000)), life.validator)
    life.chain.must(life.reward_claim(life.trainers[0]), life.trainers[0])


def test_check_leaves_later_states_alone(life: Life) -> None:
    life.validating().chain.advance(10**5)
    untouched_by_check(life)
    for trainer, bps in zip(life.trainers, (6000, 4000), strict=True):
        life.chain.must(life.contribute(trainer, bps), life.validator)
    life.chain.must(life.complete(), life.validator)
    untouched_by_check(life)


def test_check_leaves_a_cancelled_round_alone(life: Life) -> None:
    life.posted().chain.must(life.cancel(), life.creator)
    life.chain.advance(10**6)
    untouched_by_check(life)


def test_rounds_are_numbered_and_independent(life: Life) -> None:
    life.validating()
    life.chain.must(life.create(1), life.creator)
    assert life.chain.counter().count == 2
    assert life.chain.round(0).status is RoundStatus.VALIDATING
    assert life.chain.round(1).status is RoundStatus.WAITING_VALIDATOR
    assert life.chain.vault(1) == life.chain.vault(0)


def test_a_whole_round_fits_into_one_transaction(life: Life) -> None:
    trainer = life.trainers[0]
    steps = [
        life.initialize(),
        life.create(),
        life.claim(),
        life.join(trainer),
        life.start(),
        life.submit(trainer),
        life.contribute(trainer, 10_000),
        life.complete(),
        life.reward_claim(trainer),
    ]
    outcome = life.chain.must(steps, life.creator, life.validator, trainer)
    assert [type(event).__name__ for event in outcome.events] == [
        "RoundCreated",
        "ValidatorClaimed",
        "TrainerJoined",
        "TrainingStarted",
        "GradientsSubmitted",
        "TrainingEnded",
        "ValidationCompleted",
        "RewardClaimed",
    ]
    assert life.chain.vault(0) == life.chain.svm.minimum_balance_for_rent_exemption(0)
