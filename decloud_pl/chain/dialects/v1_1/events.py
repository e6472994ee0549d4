"""The events that v1.1 changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from decloud_pl.chain import events
from decloud_pl.chain.anchor import event_decoders
from decloud_pl.chain.borsh import BorshReader
from decloud_pl.chain.dialects.v1_0 import events as v1_0
from decloud_pl.chain.events import Event


@dataclass(frozen=True, slots=True)
class RewardClaimed(events.RewardClaimed):
    """A trainer has received its share of the reward. The fees for the treasury and the referrer are in lamports."""

    treasury_fee: int
    referrer_fee: int


@dataclass(frozen=True, slots=True)
class ValidatorFeeClaimed(v1_0.ValidatorFeeClaimed):
    """The validator has received its fee. The fees for the treasury and the referrer are in lamports."""

    treasury_fee: int
    referrer_fee: int


_READERS: dict[type[Event], Callable[[BorshReader], Event]] = {
    RewardClaimed: lambda r: RewardClaimed(r.u64(), r.pubkey(), r.u64(), r.u64(), r.u64()),
    ValidatorFeeClaimed: lambda r: ValidatorFeeClaimed(r.u64(), r.pubkey(), r.u64(), r.u64(), r.u64()),
}
NAMES = v1_0.NAMES
DECODERS = {**v1_0.DECODERS, **event_decoders(_READERS)}
