"""The next step of a round depends only on the journal's row and the chain."""

from __future__ import annotations

import dataclasses

import pytest
from solders.pubkey import Pubkey

from decloud_pl.domain import Round, RoundStatus, Submission
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.rounds.life import CHECK_AFTER, OVERDUE_AFTER, Act, Finish, Next, Wait, next_step

NOW = 5_000
TRAINER = Pubkey.new_unique()
RECORD = RoundRecord(1, State.JOINING, "custom", "digits", "bafy", 10**9)
ROUND = Round(
    id=1,
    creator=Pubkey.new_unique(),
    model_cid="bafy",
    dataset="custom",
    reward_amount=10**9,
    status=RoundStatus.WAITING_TRAINERS,
    validator=Pubkey.new_unique(),
    validator_fee_bps=1000,
    baseline_score=0,
    created_at=0,
    validator_deadline=1_000,
    join_deadline=NOW,
    submit_deadline=NOW,
    trainers_count=0,
    submissions_count=0,
    bump=255,
    vault_bump=255,
    max_trainers=10,
)
JOINED = Submission(1, TRAINER, "", submitted=False, contribution_bps=0, reward_claimed=False, bump=255)
HANDED_IN = dataclasses.replace(JOINED, submitted=True, gradient_cid="bafyupdate")


def step(
    status: RoundStatus,
    submission: Submission | None,
    *,
    now: int = NOW,
    update: bool = False,
    pinned: str | None = None,
    trainers: int = 0,
    withheld: str = "",
    record: RoundRecord = RECORD,
    validator: Pubkey | None = ROUND.validator,
    aborted: bool = False,
    submit_deadline: int = NOW,
) -> Next:
    round_ = dataclasses.replace(
        ROUND, status=status, trainers_count=trainers, validator=validator, submit_deadline=submit_deadline
    )
    record = dataclasses.replace(record, pinned_cid=pinned)
    return next_step(record, round_, submission, now=now, update_on_disk=update, withheld=withheld, aborted=aborted)


def test_joins_until_the_deadlines_last_second() -> None:
    assert step(RoundStatus.WAITING_TRAINERS, None) == Act("join")
    late = step(RoundStatus.WAITING_TRAINERS, None, now=NOW + 1)
    assert isinstance(late, Finish)
    assert late.state is State.MISSED


def test_does_not_join_a_full_round() -> None:
    full = step(RoundStatus.WAITING_TRAINERS, None, trainers=10)
    assert isinstance(full, Finish)
    assert full.state is State.MISSED


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (RoundStatus.TRAINING, State.MISSED),
        (RoundStatus.VALIDATING, State.MISSED),
        (RoundStatus.COMPLETED, State.MISSED),
        (RoundStatus.EXPIRED, State.EXPIRED),
        (RoundStatus.CANCELLED, State.ABORTED),
    ],
)
def test_a_round_that_went_on_without_us_is_over(status: RoundStatus, state: State) -> None:
    over = step(status, None)
    assert isinstance(over, Finish)
    assert over.state is state


def test_an_expired_round_says_who_was_missing() -> None:
    silent = "the round expired: its validator never"
    expired = RoundStatus.EXPIRED
    assert step(expired, HANDED_IN) == Finish(State.EXPIRED, f"{silent} scored the submissions")
    assert step(expired, JOINED, submit_deadline=0) == Finish(State.EXPIRED, f"{silent} started the training")
    assert step(expired, JOINED) == Finish(State.EXPIRED, "the round expired without submissions")


ABORTED = Finish(State.ABORTED, "the validator aborted the round and refunded its creator")


@pytest.mark.parametrize("submission", [None, JOINED, HANDED_IN], ids=["not joined", "joined", "submitted"])
@pytest.mark.parametrize("update", [False, True])
def test_a_cancelled_round_that_had_a_validator_was_aborted(submission: Submission | None, update: bool) -> None:
    """The creator can cancel only before a validator claims the round."""
    assert step(RoundStatus.CANCELLED, submission, update=update) == ABORTED
    assert step(RoundStatus.CANCELLED, submission, update=update, withheld="it loses 2 points") == ABORTED
    cancelled = Finish(State.CANCELLED, "the creator cancelled the round")
    assert step(RoundStatus.CANCELLED, None, validator=None) == cancelled


@pytest.mark.parametrize("status", [status for status in RoundStatus if status is not RoundStatus.COMPLETED])
@pytest.mark.parametrize("submission", [None, JOINED, HANDED_IN], ids=["not joined", "joined", "submitted"])
def test_the_programs_word_ends_a_round_whatever_its_status(status: RoundStatus, submission: Submission | None) -> None:
    """The status of an aborted round is not documented."""
    assert step(status, submission, validator=None, aborted=True) == ABORTED
    assert next_step(RECORD, None, submission, now=NOW, update_on_disk=True, aborted=True) == ABORTED


def test_a_reward_is_claimed_whatever_was_said() -> None:
    paid = dataclasses.replace(HANDED_IN, contribution_bps=10_000)
    assert step(RoundStatus.COMPLETED, paid, aborted=True) == Act("claim")


def test_an_aborted_round_is_over_and_frees_its_slot() -> None:
    assert State.ABORTED.is_final
    assert not State.ABORTED.occupies_slot


def test_waits_for_the_validator_after_joining() -> None:
    waiting = step(RoundStatus.WAITING_TRAINERS, JOINED)
    assert isinstance(waiting, Wait)
    assert waiting.state is State.WAITING


def test_trains_then_publishes_then_submits() -> None:
    assert step(RoundStatus.TRAINING, JOINED) == Act("train")
    assert step(RoundStatus.TRAINING, JOINED, update=True) == Act("publish")
    assert step(RoundStatus.TRAINING, JOINED, update=True, pinned="bafyupdate") == Act("submit")


def test_a_published_update_is_submitted_although_its_file_is_gone() -> None:
    assert step(RoundStatus.TRAINING, JOINED, update=False, pinned="bafyupdate") == Act("submit")


def test_nothing_goes_on_chain_that_is_not_pinned() -> None:
    assert step(RoundStatus.TRAINING, JOINED, update=True, pinned=None) != Act("submit")


@pytest.mark.parametrize("pinned", [None, "bafyupdate"])
def test_what_would_gain_nothing_waits_until_the_deadline_and_is_missed_for_that_reason(pinned: str | None) -> None:
    """A withheld update stays withheld even if an earlier, forced run pinned it."""
    waiting = step(RoundStatus.TRAINING, JOINED, update=True, pinned=pinned, withheld="it loses 2 points")
    assert waiting == Wait(State.WITHHELD, "nothing was submitted: it loses 2 points")
    assert not State.WITHHELD.is_final
    assert not State.WITHHELD.occupies_slot
    missed = Finish(State.MISSED, "nothing was submitted: it loses 2 points")
    assert step(RoundStatus.TRAINING, JOINED, now=NOW + 1, update=True, withheld="it loses 2 points") == missed
    for status in (RoundStatus.VALIDATING, RoundStatus.COMPLETED, RoundStatus.EXPIRED):
        assert step(status, JOINED, update=True, withheld="it loses 2 points") == missed
    # A round whose withheld update was submitted anyway continues.
    submitted = step(RoundStatus.TRAINING, HANDED_IN, update=True, withheld="it loses 2 points")
    assert isinstance(submitted, Wait)
    assert submitted.state is State.SUBMITTED


def test_no_share_although_a_gain_was_expected_names_the_convention() -> None:
    sure = dataclasses.replace(RECORD, gain_low=0.55, gain_high=0.66)
    end = step(RoundStatus.COMPLETED, HANDED_IN, record=sure)
    assert isinstance(end, Finish)
    assert "although held-out data predicted a gain of 55.0 to 66.0 points" in end.reason
    assert "another convention than network.convention" in end.reason
    unsure = dataclasses.replace(RECORD, gain_low=-0.01, gain_high=0.02)
    assert step(RoundStatus.COMPLETED, HANDED_IN, record=unsure) == step(RoundStatus.COMPLETED, HANDED_IN)


def test_a_submission_on_chain_is_never_sent_again() -> None:
    done = step(RoundStatus.TRAINING, HANDED_IN, update=True, pinned="bafyupdate")
    assert isinstance(done, Wait)
    assert done.state is State.SUBMITTED


def test_too_late_to_submit() -> None:
    late = step(RoundStatus.TRAINING, JOINED, now=NOW + 1, update=True, pinned="bafyupdate")
    assert isinstance(late, Finish)
    assert late.state is State.MISSED


def test_moves_a_round_on_that_nobody_moves_on() -> None:
    hanging = step(RoundStatus.TRAINING, HANDED_IN, now=NOW + CHECK_AFTER + 1)
    assert hanging == Act("check")
    assert step(RoundStatus.TRAINING, HANDED_IN, now=NOW + CHECK_AFTER) != Act("check")


def test_a_validator_that_never_starts_costs_no_slot() -> None:
    late = step(RoundStatus.WAITING_TRAINERS, JOINED, now=NOW + OVERDUE_AFTER + 1)
    assert isinstance(late, Wait)
    assert late.state is State.OVERDUE
    assert not late.state.occupies_slot
    assert State.WAITING.occupies_slot


def test_a_failed_training_costs_no_slot_until_its_next_try() -> None:
    training = dataclasses.replace(RECORD, state=State.TRAINING)
    assert training.occupies_slot
    assert not dataclasses.replace(training, attempts=1, reason="It diverged.").occupies_slot


def test_claims_once() -> None:
    scored = dataclasses.replace(HANDED_IN, contribution_bps=4_000)
    assert step(RoundStatus.COMPLETED, scored) == Act("claim")
    paid = dataclasses.replace(scored, reward_claimed=True)
    assert step(RoundStatus.COMPLETED, paid) == Finish(State.CLAIMED)


@pytest.mark.parametrize(("bps", "reward", "claims"), [(1, 56_000_000, True), (1, 55_000_000, False), (9, 1, False)])
def test_a_reward_below_the_fee_is_not_claimed(bps: int, reward: int, claims: bool) -> None:
    round_ = dataclasses.replace(ROUND, status=RoundStatus.COMPLETED, reward_amount=reward)
    scored = dataclasses.replace(HANDED_IN, contribution_bps=bps)
    step = next_step(RECORD, round_, scored, now=NOW, update_on_disk=False, withheld="", aborted=False)
    assert (step == Act("claim")) is claims
    if not claims:
        assert isinstance(step, Finish)
        assert (step.state, "a claim costs at least the reward of" in step.reason) == (State.UNREWARDED, True)


def test_no_share_is_no_claim() -> None:
    nothing = step(RoundStatus.COMPLETED, HANDED_IN)
    assert isinstance(nothing, Finish)
    assert nothing.state is State.UNREWARDED


@pytest.mark.parametrize("status", [RoundStatus.VALIDATING, RoundStatus.COMPLETED])
def test_not_submitted_in_time_is_missed(status: RoundStatus) -> None:
    missed = step(status, JOINED)
    assert isinstance(missed, Finish)
    assert missed.state is State.MISSED


def test_a_round_the_chain_does_not_know_fails() -> None:
    gone = next_step(RECORD, None, None, now=NOW, update_on_disk=False)
    assert isinstance(gone, Finish)
    assert gone.state is State.FAILED


def test_every_situation_has_an_answer_and_final_states_only_come_from_finish() -> None:
    for status in RoundStatus:
        for submission in (None, JOINED, HANDED_IN):
            for update in (False, True):
                for pinned in (None, "bafyupdate"):
                    answer = step(status, submission, update=update, pinned=pinned)
                    if isinstance(answer, Finish):
                        assert answer.state.is_final
                    elif isinstance(answer, Wait):
                        assert not answer.state.is_final
