"""The events of v1.0 in the transaction log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from solders.pubkey import Pubkey

from decloud_pl.chain import events
from decloud_pl.chain.anchor import event_decoders
from decloud_pl.chain.borsh import BorshReader, undecodable
from decloud_pl.chain.dialects.v1_0.accounts import read_dataset
from decloud_pl.chain.events import Event, GradientsSubmitted, RewardClaimed, TrainerJoined, ValidationCompleted


class ExpireReason(IntEnum):
    """Why a round expired."""

    NO_VALIDATOR = 0
    NO_TRAINERS = 1
    NO_SUBMISSIONS = 2


@dataclass(frozen=True, slots=True)
class RoundCreated(events.RoundCreated):
    """A creator has posted a round; ``reward_amount`` is in lamports."""

    creator: Pubkey
    model_cid: str
    dataset: str
    reward_amount: int
    validator_deadline: int


@dataclass(frozen=True, slots=True)
class ValidatorClaimed(events.ValidatorClaimed):
    """A validator has claimed the round; trainers may join until ``join_deadline``, in Unix seconds."""

    validator: Pubkey
    join_deadline: int


@dataclass(frozen=True, slots=True)
class TrainingStarted(Event):
    """The validator has started the training."""

    baseline_score: int
    submit_deadline: int
    trainers_count: int


@dataclass(frozen=True, slots=True)
class TrainingEnded(Event):
    """The round accepts no more submissions; validation begins."""

    submissions_count: int


@dataclass(frozen=True, slots=True)
class RoundFinalized(Event):
    """The validator has set all contributions at once. ``results`` pairs each trainer with its share (basis points)."""

    validator_fee: int
    trainers_pool: int
    results: tuple[tuple[Pubkey, int], ...]


@dataclass(frozen=True, slots=True)
class ValidatorFeeClaimed(Event):
    """The validator has received its fee; ``amount`` is in lamports."""

    validator: Pubkey
    amount: int


@dataclass(frozen=True, slots=True)
class RoundExpired(Event):
    """The round ended without a result, and the creator got a refund."""

    reason: ExpireReason
    refund_amount: int


@dataclass(frozen=True, slots=True)
class RoundCancelled(Event):
    """The creator has cancelled the round."""


def _reason(read: BorshReader) -> ExpireReason:
    value = read.u8()
    try:
        return ExpireReason(value)
    except ValueError:
        raise undecodable(f"Expire reason {value} is unknown.") from None


def _results(read: BorshReader) -> tuple[tuple[Pubkey, int], ...]:
    return tuple((read.pubkey(), read.u16()) for _ in range(read.u32()))


# Python evaluates arguments in the order written, which is the order of the fields on the wire.
_READERS: dict[type[Event], Callable[[BorshReader], Event]] = {
    RoundCreated: lambda r: RoundCreated(
        round_id=r.u64(),
        creator=r.pubkey(),
        model_cid=r.string(),
        dataset=read_dataset(r),
        reward_amount=r.u64(),
        validator_deadline=r.i64(),
    ),
    ValidatorClaimed: lambda r: ValidatorClaimed(r.u64(), r.pubkey(), r.i64()),
    TrainerJoined: lambda r: TrainerJoined(r.u64(), r.pubkey(), r.u8()),
    TrainingStarted: lambda r: TrainingStarted(r.u64(), r.u32(), r.i64(), r.u8()),
    GradientsSubmitted: lambda r: GradientsSubmitted(r.u64(), r.pubkey(), r.string(), r.u8()),
    TrainingEnded: lambda r: TrainingEnded(r.u64(), r.u8()),
    ValidationCompleted: lambda r: ValidationCompleted(r.u64()),
    RoundFinalized: lambda r: RoundFinalized(r.u64(), r.u64(), r.u64(), _results(r)),
    RewardClaimed: lambda r: RewardClaimed(r.u64(), r.pubkey(), r.u64()),
    ValidatorFeeClaimed: lambda r: ValidatorFeeClaimed(r.u64(), r.pubkey(), r.u64()),
    RoundExpired: lambda r: RoundExpired(r.u64(), _reason(r), r.u64()),
    RoundCancelled: lambda r: RoundCancelled(r.u64()),
}
NAMES = tuple(kind.__name__ for kind in _READERS)
DECODERS = event_decoders(_READERS)
