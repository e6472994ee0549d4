"""A row of the journal: what the daemon intends for a round, and how far it has come."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class State(StrEnum):
    """How far this machine has come with a round; each is written down before its effect begins.

    ::

        seen → joining → waiting → training → publishing → submitting → submitted → claiming → claimed
                          ↕ overdue ↗   ↕ withheld                              ↘ unrewarded
        from anywhere: missed (a deadline), expired, cancelled, aborted, failed
    """

    SEEN = "seen"
    JOINING = "joining"
    WAITING = "waiting"
    OVERDUE = "overdue"
    TRAINING = "training"
    WITHHELD = "withheld"
    PUBLISHING = "publishing"
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
        """Whether nothing is left to do for the round."""
        return self in _FINAL

    @property
    def occupies_slot(self) -> bool:
        """Whether the round counts against ``max_concurrent_rounds``: its training lies ahead or runs."""
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
        resolved_dataset: the data set trained on, after mappings.
        model_cid: the base model.
        reward_amount: lamports of the whole round, without what a treasury takes.
        reason: why the round ended or is waiting, for people.
        attempts: failed tries of the present state.
        next_try_at: Unix seconds of this machine before which the present state is not tried again.
        update_cid: CID of the finished update on disk, under ``update_profile``.
        update_profile: how the file was cut into blocks for that CID.
        update_size: bytes of the update file.
        pinned_cid: CID that a store holds and that was read back; only this one goes on chain.
        pinned_provider: the store that holds it.
        accuracy_before: base model on held-out data, 0 to 1.
        accuracy_after: the same with the update applied.
        gain_low: lower end of the 95 % interval of the accuracy that a validator was expected to find gained.
        gain_high: upper end of it.
        contribution_bps: the validator's verdict.
        claimed_lamports: what the claim paid.
        join_signature: of the transaction that joined.
        submit_signature: of the transaction that submitted.
        claim_signature: of the transaction that claimed.
        join_seconds: wall seconds that joining took.
        train_seconds: wall seconds that the training took.
        publish_seconds: wall seconds that pinning and reading back took.
        claim_seconds: wall seconds that claiming took.
        submit_window: seconds that were left to the submit deadline when the training was first seen.
        validator: who scores the round, base58; None until the training.
        convention: what the entries of the update mean; None until the training.
        convention_why: why that one was chosen, for people.
        updated_at: Unix seconds when the journal wrote the row, 0 before; records that differ only here are equal.
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
        """Accuracy after less before."""
        if self.accuracy_before is None or self.accuracy_after is None:
            return None
        return self.accuracy_after - self.accuracy_before

    @property
    def earned(self) -> int:
        """Lamports, 0 until they are claimed."""
        return (self.claimed_lamports or 0) if self.state is State.CLAIMED else 0

    @property
    def occupies_slot(self) -> bool:
        """Whether it counts against ``max_concurrent_rounds``; a failed training does not until its next try."""
        return self.state.occupies_slot and not (self.state is State.TRAINING and self.attempts > 0)
