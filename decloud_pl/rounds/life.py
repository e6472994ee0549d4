"""What to do next for a round: a pure function of the journal's row and the chain.

Level-triggered: it looks at how things stand, never at what has happened, so it gives the same answer after
a crash, a lost event or a restart on a chain that went on without us.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from decloud_pl.domain import Round, RoundStatus, Submission
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.rounds.select import why_closed

CHECK_AFTER = 60
"""Seconds past a deadline after which this wallet pays for moving a round on that others let hang."""
OVERDUE_AFTER = 600
"""Seconds past the join deadline after which a validator is no longer waited for with a slot."""
_ABORTED = "the validator aborted the round and refunded its creator"


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do until the chain moves; ``state`` is what the journal should show meanwhile."""

    state: State
    reason: str


@dataclass(frozen=True, slots=True)
class Act:
    """Do this; every step may be repeated without harm."""

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
) -> Next:
    """Decides the next step of one round.

    Args:
        record: the journal's row.
        round_: the round on chain, None when the chain shows none.
        submission: this wallet's submission account, None when it has not joined.
        now: Unix seconds of the chain's clock.
        update_on_disk: whether a finished training of this round is on this machine.
        withheld: why that must not be submitted, empty where it may.
        aborted: whether the program has said that the round's validator aborted it.
    """
    if _is_aborted(round_, said=aborted):
        return Finish(State.ABORTED, _ABORTED)
    if round_ is None:
        return Finish(State.FAILED, "the chain does not know this round")
    if submission is None:
        return _not_joined(round_, now)
    if round_.status in (RoundStatus.WAITING_VALIDATOR, RoundStatus.WAITING_TRAINERS):
        if now > round_.join_deadline + OVERDUE_AFTER:
            # No deadline of the program ends this: the validator may still start, and the slot is free meanwhile.
            return Wait(State.OVERDUE, "joined, but the validator has not started the training")
        return Wait(State.WAITING, "joined, waiting for the validator to start the training")
    if round_.status is RoundStatus.TRAINING:
        return _in_training(record, round_, submission, now=now, update_on_disk=update_on_disk, withheld=withheld)
    return _after_training(record, round_, submission, withheld=withheld)


def _is_aborted(round_: Round | None, *, said: bool) -> bool:
    """Whether the validator gave the round up. Which status that leaves is not published, so the event counts too."""
    if round_ is not None and round_.status is RoundStatus.CANCELLED:
        # The creator can cancel only before there is a validator.
        return said or round_.validator is not None
    return said and (round_ is None or round_.status is not RoundStatus.COMPLETED)


def _not_joined(round_: Round, now: int) -> Next:
    if round_.status is RoundStatus.CANCELLED:
        return Finish(State.CANCELLED, "the creator cancelled the round")
    if round_.status is RoundStatus.EXPIRED:
        return Finish(State.EXPIRED, "the round expired")
    closed = why_closed(round_, now)
    return Finish(State.MISSED, f"not joined, {closed}") if closed else Act("join")


def _in_training(
    record: RoundRecord, round_: Round, submission: Submission, *, now: int, update_on_disk: bool, withheld: str
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
        return Finish(State.MISSED, "the deadline for submissions passed before the update was ready")
    if not update_on_disk:
        return Act("train")
    return Act("submit") if record.pinned_cid else Act("publish")


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
    return Act("claim")


def _though(record: RoundRecord) -> str:
    """What speaks against a verdict of no gain, and what may be behind it."""
    if record.gain_low is None or record.gain_high is None or record.gain_low <= 0:
        return ""
    expected = f"{record.gain_low * 100:.1f} to {record.gain_high * 100:.1f} points"
    return (
        f", although {expected} were expected from held-out data: it may read updates by another convention than "
        f"{record.convention or 'network.convention'} (`decloud-trainer convention` finds out)"
    )
