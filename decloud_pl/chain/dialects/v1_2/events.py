"""The events that v1.2 added."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from solders.pubkey import Pubkey

from decloud_pl.chain import events
from decloud_pl.chain.anchor import event_decoders
from decloud_pl.chain.borsh import BorshReader
from decloud_pl.chain.dialects.v1_1 import events as v1_1
from decloud_pl.chain.events import Event


@dataclass(frozen=True, slots=True)
class RoundAborted(events.RoundAborted):
    """The validator has aborted the round, and the creator got ``refund_amount`` lamports back."""

    validator: Pubkey
    refund_amount: int


_READERS: dict[type[Event], Callable[[BorshReader], Event]] = {
    RoundAborted: lambda r: RoundAborted(r.u64(), r.pubkey(), r.u64()),
}
NAMES = (*v1_1.NAMES, "RoundAborted")
DECODERS = {**v1_1.DECODERS, **event_decoders(_READERS)}
