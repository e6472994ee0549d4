"""The events of the program that this package uses. Every revision has them, and may add events and fields."""

from __future__ import annotations

from dataclasses import dataclass

from solders.pubkey import Pubkey


@dataclass(frozen=True, slots=True)
class Event:
    """An event in a round, which the program wrote to a transaction's log."""

    round_id: int


@dataclass(frozen=True, slots=True)
class RoundCreated(Event):
    """A creator has posted a round."""


@dataclass(frozen=True, slots=True)
class ValidatorClaimed(Event):
    """A validator has claimed the round; trainers may join."""


@dataclass(frozen=True, slots=True)
class TrainerJoined(Event):
    """A trainer has joined."""

    trainer: Pubkey
    trainers_count: int


@dataclass(frozen=True, slots=True)
class GradientsSubmitted(Event):
    """A trainer has submitted an update."""

    trainer: Pubkey
    gradient_cid: str
    submissions_count: int


@dataclass(frozen=True, slots=True)
class ValidationCompleted(Event):
    """The validation has ended, and trainers can claim their rewards."""


@dataclass(frozen=True, slots=True)
class RoundAborted(Event):
    """The validator has aborted the round, and the creator got a refund."""


@dataclass(frozen=True, slots=True)
class RewardClaimed(Event):
    """A trainer has claimed its reward of ``amount`` lamports."""

    trainer: Pubkey
    amount: int
