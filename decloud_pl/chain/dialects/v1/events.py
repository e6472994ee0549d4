"""Events the program writes into the transaction log as ``Program data: <base64>`` lines."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from solders.pubkey import Pubkey

from decloud_pl.chain.borsh import Reader
from decloud_pl.chain.dialects.v1.accounts import discriminator, read_dataset
from decloud_pl.domain import ExpireReason
from decloud_pl.errors import DecodeError

_DATA_PREFIX = "Program data: "


@dataclass(frozen=True, slots=True)
class RoundCreated:
    """A creator has posted a round."""

    round_id: int
    creator: Pubkey
    model_cid: str
    dataset: str
    reward_amount: int
    validator_deadline: int


@dataclass(frozen=True, slots=True)
class ValidatorClaimed:
    """A validator has claimed the round; trainers may join."""

    round_id: int
    validator: Pubkey
    join_deadline: int


@dataclass(frozen=True, slots=True)
class TrainerJoined:
    """A trainer has joined."""

    round_id: int
    trainer: Pubkey
    trainers_count: int


@dataclass(frozen=True, slots=True)
class TrainingStarted:
    """The validator has started the training."""

    round_id: int
    baseline_score: int
    submit_deadline: int
    trainers_count: int


@dataclass(frozen=True, slots=True)
class GradientsSubmitted:
    """A trainer has submitted an update."""

    round_id: int
    trainer: Pubkey
    gradient_cid: str
    submissions_count: int


@dataclass(frozen=True, slots=True)
class TrainingEnded:
    """No more submissions are taken; validation begins."""

    round_id: int
    submissions_count: int


@dataclass(frozen=True, slots=True)
class ValidationCompleted:
    """Rewards can be claimed."""

    round_id: int


@dataclass(frozen=True, slots=True)
class RoundFinalized:
    """All contributions were set at once; ``results`` pairs trainers with basis points."""

    round_id: int
    validator_fee: int
    trainers_pool: int
    results: tuple[tuple[Pubkey, int], ...]


@dataclass(frozen=True, slots=True)
class RewardClaimed:
    """A trainer has received its share in lamports."""

    round_id: int
    trainer: Pubkey
    amount: int


@dataclass(frozen=True, slots=True)
class ValidatorFeeClaimed:
    """The validator has received its fee in lamports."""

    round_id: int
    validator: Pubkey
    amount: int


@dataclass(frozen=True, slots=True)
class RoundExpired:
    """The round ended without a result and the creator was refunded."""

    round_id: int
    reason: ExpireReason
    refund_amount: int


@dataclass(frozen=True, slots=True)
class RoundCancelled:
    """The creator took the round back."""

    round_id: int


Event: TypeAlias = (
    RoundCreated
    | ValidatorClaimed
    | TrainerJoined
    | TrainingStarted
    | GradientsSubmitted
    | TrainingEnded
    | ValidationCompleted
    | RoundFinalized
    | RewardClaimed
    | ValidatorFeeClaimed
    | RoundExpired
    | RoundCancelled
)


def _reason(read: Reader) -> ExpireReason:
    value = read.u8()
    try:
        return ExpireReason(value)
    except ValueError:
        raise DecodeError(f"Expire reason {value} is unknown.") from None


def _results(read: Reader) -> tuple[tuple[Pubkey, int], ...]:
    return tuple((read.pubkey(), read.u16()) for _ in range(read.u32()))


# Keyword arguments are evaluated in the order written, which is the order of the fields on the wire.
_DECODERS: dict[type, Callable[[Reader], Event]] = {
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
_BY_DISCRIMINATOR = {discriminator("event", kind.__name__): decode for kind, decode in _DECODERS.items()}


def decode_event(data: bytes) -> Event | None:
    """Decodes one event; None for the data of an event this version does not know.

    Raises:
        DecodeError: a known discriminator with a body that does not fit.
    """
    decode = _BY_DISCRIMINATOR.get(data[:8])
    if decode is None:
        return None
    reader = Reader(data[8:], "Event")
    event = decode(reader)
    reader.finish()
    return event


def events_in_logs(logs: Iterable[str], program_id: Pubkey) -> Iterator[Event]:
    """The events that ``program_id`` itself wrote, in order.

    Another program of the same transaction can write any ``Program data`` line it likes, so the call stack
    is followed from the ``invoke``/``success``/``failed`` lines and foreign lines are passed over.

    Raises:
        DecodeError: the program wrote an event that does not decode.
    """
    own = str(program_id)
    stack: list[str] = []
    for line in logs:
        if line.startswith(_DATA_PREFIX):
            if stack and stack[-1] == own:
                yield from _event_of_line(line)
            continue
        # Only the runtime writes "Program <id> ..."; what programs print begins "Program log: ".
        words = line.split(" ")
        if len(words) < 3 or words[0] != "Program":
            continue
        if words[2] == "invoke":
            stack.append(words[1])
        elif stack and words[1] == stack[-1] and (words[2] == "success" or words[2].startswith("failed")):
            stack.pop()


def _event_of_line(line: str) -> Iterator[Event]:
    try:
        data = base64.b64decode(line[len(_DATA_PREFIX) :], validate=True)
    except binascii.Error as error:
        raise DecodeError("A log line of the program holds data that is not base64.") from error
    event = decode_event(data)
    if event is not None:
        yield event
