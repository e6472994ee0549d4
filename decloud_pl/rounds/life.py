"""Decide the next step of a round: a pure function of the journal's row and the chain.

The decision is level-triggered: it depends on the current state, never on past events. So it is the same after a
crash, a lost event or a restart, even if the chain has changed in the meantime.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from decloud_pl.chain.send import SIGNATURE_FEE
from decloud_pl.domain import Round, RoundStatus, Submission
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.rounds.select import why_closed

CHECK_AFTER = 60
"""Seconds past the submit deadline after which this wallet pays the transaction that moves a stalled round forward."""
OVERDUE_AFTER = 600
"""Seconds past the join deadline after which a round that waits for its validator no longer occupies a slot."""
_LATER = "published, to be submitted shortly before the deadline (submit.when=late)"
_ABORTED = "the validator aborted the round and refunded its creator"


@dataclass(frozen=True, slots=True)
class Wait:
    """Take no step until the chain changes. The journal shows ``state`` in the meantime.

    If ``until`` is set, a step is due at that time even if the chain does not change (Unix seconds, chain's clock).
    """

    state: State
    reason: str
    until: int | None = None


@dataclass(frozen=True, slots=True)
class Act:
    """The step to do next. Every step may be repeated without harm."""

    step: Literal["join", "train", "publish", "submit", "check", "claim"]


@dataclass(frozen=True, slots=True)
class Finish:
    """The round is over for this wallet."""

    state: State
    reason: str = ""


Next: TypeAlias = Wait | Act | Finish


def next_step(
    record: RoundRecord,
    round_: Round | None,
    submission: Submission | None,
    *,
    now: int,
    update_on_disk: bool,
    withheld: str = "",
    aborted: bool = False,
    submit_from: int | None = None,
) -> Next:
    """Decide the next step of one round.

    Args:
        record: the journal's row.
        round_: the round on chain, or None if it does not exist.
        submission: this wallet's submission account, or None if the wallet has not joined.
        now: Unix seconds of the chain's clock.
        update_on_disk: whether this machine has the round's finished update.
        withheld: why the finished update must not be submitted, or "" if it may.
        aborted: whether an event of the program reported that the validator aborted the round.
        submit_from: when to submit a published update, in Unix seconds of the chain's clock; None to submit it at once.
    """
    if _is_aborted(round_, reported=aborted):
        return Finish(State.ABORTED, _ABORTED)
    if round_ is None:
        return Finish(State.FAILED, "the round does not exist on this network")
    if submission is None:
        return _not_joined(round_, now)
    if round_.status in (RoundStatus.WAITING_VALIDATOR, RoundStatus.WAITING_TRAINERS):
        if now > round_.join_deadline + OVERDUE_AFTER:
            # The program sets no deadline here. The validator may still start, so free the slot in the meantime.
            return Wait(State.OVERDUE, "joined, but the validator has not started the training")
        return Wait(State.WAITING, "joined, waiting for the validator to start the training")
    if round_.status is RoundStatus.TRAINING:
        return _in_training(
            record,
            round_,
            submission,
            now=now,
            update_on_disk=update_on_disk,
            withheld=withheld,
            submit_from=submit_from,
        )
    return _after_training(record, round_, submission, withheld=withheld)


def _is_aborted(round_: Round | None, *, reported: bool) -> bool:
    """Return whether the validator aborted the round.

    The status of a round after an abort is not documented. So the event of an abort counts, too.
    """
    if round_ is not None and round_.status is RoundStatus.CANCELLED:
        # The creator can cancel only before a validator has claimed the round.
        return reported or round_.validator is not None
    return reported and (round_ is None or round_.status is not RoundStatus.COMPLETED)


def _not_joined(round_: Round, now: int) -> Next:
    if round_.status is RoundStatus.CANCELLED:
        return Finish(State.CANCELLED, "the creator cancelled the round")
    if round_.status is RoundStatus.EXPIRED:
        return Finish(State.EXPIRED, "the round expired")
    closed = why_closed(round_, now)
    return Finish(State.MISSED, f"not joined, {closed}") if closed else Act("join")


def _in_training(
    record: RoundRecord,
    round_: Round,
    submission: Submission,
    *,
    now: int,
    update_on_disk: bool,
    withheld: str,
    submit_from: int | None,
) -> Next:
    if submission.submitted:
        if now > round_.submit_deadline + CHECK_AFTER:
            return Act("check")
        return Wait(State.SUBMITTED, "submitted, waiting for the other trainers and the validator")
    if update_on_disk and withheld:
        state = State.MISSED if now > round_.submit_deadline else State.WITHHELD
        reason = f"nothing was submitted: {withheld}"
        return Finish(state, reason) if state.is_final else Wait(state, reason)
    if now > round_.submit_deadline:
        return Finish(State.MISSED, "the submit deadline passed before the update was ready")
    if not record.pinned_cid:
        return Act("publish") if update_on_disk else Act("train")
    if submit_from is not None and now < submit_from and _can_wait(record, round_):
        return Wait(State.READY, _LATER, submit_from)
    return Act("submit")


def _can_wait(record: RoundRecord, round_: Round) -> bool:
    """Return whether it is safe and useful to submit a published update later, shortly before the deadline."""
    if record.state is State.SUBMITTING:
        return False  # the transaction may be on its way
    if record.state is State.READY and record.attempts:
        return False  # a look at the chain failed: the endpoints may fail at the deadline, too
    others = round_.trainers_count - 1
    return round_.submissions_count < others  # a wallet that has submitted cannot copy the update


def _after_training(record: RoundRecord, round_: Round, submission: Submission, *, withheld: str) -> Next:
    if withheld and not submission.submitted:
        return Finish(State.MISSED, f"nothing was submitted: {withheld}")
    if round_.status is RoundStatus.EXPIRED:
        if submission.submitted:
            return Finish(State.EXPIRED, "the round expired: its validator never scored the submissions")
        if not round_.submit_deadline:
            return Finish(State.EXPIRED, "the round expired: its validator never started the training")
        return Finish(State.EXPIRED, "the round expired without submissions")
    if round_.status is RoundStatus.CANCELLED:
        return Finish(State.CANCELLED, "the creator cancelled the round")
    if not submission.submitted:
        return Finish(State.MISSED, "validation began before this wallet had submitted")
    if round_.status is RoundStatus.VALIDATING:
        return Wait(State.SUBMITTED, "submitted, waiting for the validator's scores")
    if submission.reward_claimed:
        return Finish(State.CLAIMED)
    if submission.contribution_bps == 0:
        return Finish(State.UNREWARDED, f"the validator measured no gain and gave no share{_though(record)}")
    reward = round_.reward_of(submission.contribution_bps)
    if reward <= SIGNATURE_FEE:
        return Finish(State.UNREWARDED, f"a claim costs at least the reward of {reward:,} lamports")
    return Act("claim")


def with_reward(record: RoundRecord, round_: Round | None, submission: Submission | None) -> RoundRecord:
    """Return the record with its reward, also if another program claimed it: then the journal has no amount yet."""
    if record.claimed_lamports is not None or round_ is None or submission is None:
        return record
    share = submission.contribution_bps
    return replace(record, contribution_bps=share, claimed_lamports=round_.reward_of(share))


def _though(record: RoundRecord) -> str:
    """Return a clause for the message about a round without reward; "" if no gain was predicted.

    The clause states the predicted gain, and why the validator may have measured none.
    """
    if record.gain_low is None or record.gain_high is None or record.gain_low <= 0:
        return ""
    expected = f"{record.gain_low * 100:.1f} to {record.gain_high * 100:.1f} points"
    return (
        f", although held-out data predicted a gain of {expected}; the validator may read updates by another "
        f"convention than {record.convention or 'network.convention'} (check with `decloud-trainer convention`)"
    )
