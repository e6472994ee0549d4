"""Revision v1.1 of the program: a treasury receives 2 % of each payment. A referrer, if set, gets half of the 2 %."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from solders.instruction import AccountMeta
from solders.pubkey import Pubkey

from decloud_pl.chain.anchor import Decoders, readonly, writable
from decloud_pl.chain.dialects.v1_0 import V1_0
from decloud_pl.chain.dialects.v1_1.errors import MEANINGS

_PUBLIC_TREASURY = Pubkey.from_string("FzuCxi65QyFXAGbHcXB28RXqyBZSZ5KXLQxeofx1P9K2")


@dataclass(frozen=True, slots=True)
class V1_1(V1_0):
    """Revision v1.1, which adds the accounts of the treasury and the referrer to v1.0."""

    treasury: Pubkey = _PUBLIC_TREASURY
    referrer: Pubkey | None = None
    account_counts: ClassVar[Mapping[str, int]] = {
        **V1_0.account_counts,
        "claim_reward": 7,
        "claim_validator_fee": 6,
        "complete_validation": 6,
    }
    treasury_fee_bps: ClassVar[int] = 200
    meanings: ClassVar[Mapping[IntEnum, str]] = MEANINGS

    def _fee_metas(self) -> tuple[AccountMeta, ...]:
        # For Anchor, the program id stands for an absent optional account.
        referrer = readonly(self.program_id) if self.referrer is None else writable(self.referrer)
        return (writable(self.treasury), referrer)

    def _event_decoders(self) -> Decoders:
        from decloud_pl.chain.dialects.v1_1.events import DECODERS

        return DECODERS


DIALECT = V1_1
"""The class that `decloud_pl.chain.dialects` instantiates."""
