"""What a trainer hears of rounds, whichever revision of the program says it; a revision adds kinds and fields."""

from __future__ import annotations

from dataclasses import dataclass

from solders.pubkey import Pubkey


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to a round."""

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
    """Rewards can be claimed."""


@dataclass(frozen=True, slots=True)
class RoundAborted(Event):
    """The round's validator has given it up, and its creator was refunded."""


@dataclass(frozen=True, slots=True)
class RewardClaimed(Event):
    """A trainer has received its share, in lamports."""

    trainer: Pubkey
    amount: int
