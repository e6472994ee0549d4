"""A row of the journal: a round's next step, and the results of its earlier steps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from decloud_pl.domain import Update


class State(StrEnum):
    """The progress of a round on this machine. The journal stores a state before its step begins.

    ::

        seen → joining → waiting → training → publishing → submitting → submitted → claiming → claimed
                          ↕ overdue ↗   ↕ withheld       ↘ ready ↗              ↘ unrewarded
        from anywhere: missed (a deadline), expired, cancelled, aborted, failed
    """

    SEEN = "seen"
    JOINING = "joining"
    WAITING = "waiting"
    OVERDUE = "overdue"
    TRAINING = "training"
    WITHHELD = "withheld"
    PUBLISHING = "publishing"
    READY = "ready"
    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    CLAIMING = "claiming"
    CLAIMED = "claimed"
    UNREWARDED = "unrewarded"
    MISSED = "missed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    ABORTED = "aborted"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """Whether the round needs no further step."""
        return self in _FINAL

    @property
    def occupies_slot(self) -> bool:
        """Whether the round counts towards ``max_concurrent_rounds``.

        It counts until its update is submitted, except in three states. In ``overdue``, the validator is late to start
        the training. In ``withheld``, the update is kept back. In ``ready``, the update is published and waits to be
        submitted shortly before the deadline.
        """
        return self in _BEFORE_SUBMITTED


_FINAL = {
    State.CLAIMED,
    State.UNREWARDED,
    State.MISSED,
    State.EXPIRED,
    State.CANCELLED,
    State.ABORTED,
    State.FAILED,
}
NOT_JOINED = (State.SEEN, State.JOINING)
"""States of a round that this wallet has not joined yet, as far as the journal knows."""
_BEFORE_SUBMITTED = {
    State.SEEN,
    State.JOINING,
    State.WAITING,
    State.TRAINING,
    State.PUBLISHING,
    State.SUBMITTING,
}


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """One row of the journal.

    Attributes:
        round_id: the round on chain.
        state: see `State`.
        dataset: the chain's name of the data set.
        resolved_dataset: the data set to train on, after mappings.
        model_cid: the CID of the base model.
        reward_amount: the reward of the whole round in lamports, less the treasury's fee.
        reason: why the round ended or waits, in words for people.
        attempts: failed attempts in the current state.
        next_try_at: the earliest time of a retry in the current state, in Unix seconds of this machine's clock.
        update_cid: the CID of the finished update on disk, computed by the rules of ``update_profile``.
        update_profile: the name of the rules that divide a file into blocks to compute its CID.
        update_size: the size of the update file in bytes.
        pinned_cid: the CID of the pinned update, set after the pinned copy was verified. Only this CID is submitted.
        pinned_provider: the name of the store that pinned the update.
        accuracy_before: accuracy of the base model on held-out data, 0 to 1.
        accuracy_after: accuracy on held-out data of the base model with the update applied, 0 to 1.
        gain_low: the lower end of the 95 % interval of the gain that a validator is expected to measure.
        gain_high: the upper end of that interval.
        contribution_bps: this wallet's share of the trainers' pool in basis points, as set by the validator.
        claimed_lamports: the lamports that the claim paid.
        join_signature: the signature of the join transaction.
        submit_signature: the signature of the submit transaction.
        claim_signature: the signature of the claim transaction.
        join_seconds: the duration of the join.
        train_seconds: the duration of the training.
        publish_seconds: the duration of pinning the update and reading it back.
        claim_seconds: the duration of the claim.
        submit_window: the seconds left to the submit deadline when the training first started.
        validator: the address of the round's validator, base58; None until the training.
        convention: the convention assumed for the validator; None until the training.
        convention_why: why that convention was assumed, in words for people.
        updated_at: Unix seconds when the journal wrote the row; 0 if it has not been written. Comparisons ignore it.
    """

    round_id: int
    state: State
    dataset: str
    resolved_dataset: str
    model_cid: str
    reward_amount: int
    reason: str = ""
    attempts: int = 0
    next_try_at: int = 0
    update_cid: str | None = None
    update_profile: str | None = None
    update_size: int | None = None
    pinned_cid: str | None = None
    pinned_provider: str | None = None
    accuracy_before: float | None = None
    accuracy_after: float | None = None
    contribution_bps: int | None = None
    claimed_lamports: int | None = None
    join_signature: str | None = None
    submit_signature: str | None = None
    claim_signature: str | None = None
    join_seconds: float | None = None
    train_seconds: float | None = None
    publish_seconds: float | None = None
    claim_seconds: float | None = None
    submit_window: int | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    validator: str | None = None
    convention: str | None = None
    convention_why: str | None = None
    updated_at: float = field(default=0.0, compare=False)

    @property
    def gain(self) -> float | None:
        """``accuracy_after`` minus ``accuracy_before``; None if one of them is unknown."""
        if self.accuracy_before is None or self.accuracy_after is None:
            return None
        return self.accuracy_after - self.accuracy_before

    def with_update(self, update: Update) -> RoundRecord:
        """Return the row with the results of a finished training."""
        return replace(
            self,
            update_cid=update.cid,
            update_profile=update.profile,
            update_size=update.size,
            accuracy_before=update.accuracy_before,
            accuracy_after=update.accuracy_after,
            gain_low=update.gain_low,
            gain_high=update.gain_high,
        )

    def without_update(self) -> RoundRecord:
        """Return the row without the results of a training, which would be shown as those of the next one."""
        return replace(
            self,
            update_cid=None,
            update_profile=None,
            update_size=None,
            accuracy_before=None,
            accuracy_after=None,
            gain_low=None,
            gain_high=None,
            train_seconds=None,
        )

    @property
    def earned(self) -> int:
        """The claimed lamports; 0 before the claim."""
        return (self.claimed_lamports or 0) if self.state is State.CLAIMED else 0

    @property
    def occupies_slot(self) -> bool:
        """Whether the round occupies a slot; see `State.occupies_slot`.

        A round whose training has failed does not occupy a slot until the next attempt starts. Until then, ``reason``
        has the failure. A shortage of this machine is no such failure unless it occurs again and again.
        """
        waits = self.state is State.TRAINING and self.attempts > 0 and bool(self.reason)
        return self.state.occupies_slot and not waits
