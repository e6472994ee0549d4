"""Revision v1.2 of the program: a validator can abort a round that it has claimed.

The public validator of this revision adds an update to the parameters and the buffers of the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from solders.instruction import Instruction
from solders.pubkey import Pubkey

from decloud_pl.chain import borsh
from decloud_pl.chain.anchor import Decoders, writable
from decloud_pl.chain.dialect import Reading
from decloud_pl.chain.dialects.v1_1 import V1_1
from decloud_pl.chain.dialects.v1_2.errors import MEANINGS


@dataclass(frozen=True, slots=True)
class V1_2(V1_1):
    """Revision v1.2, which adds the instruction ``abort_round`` to v1.1."""

    account_counts: ClassVar[Mapping[str, int]] = {**V1_1.account_counts, "abort_round": 5}
    reading: ClassVar[Reading] = Reading("delta", 0.1)
    can_abort: ClassVar[bool] = True
    meanings: ClassVar[Mapping[IntEnum, str]] = MEANINGS

    def abort_round(self, round_id: int, *, creator: Pubkey, validator: Pubkey) -> Instruction:
        metas = self._vault_metas(round_id, validator, (writable(creator),))
        return self._instruction("abort_round", borsh.u64(round_id), metas)

    def _event_decoders(self) -> Decoders:
        from decloud_pl.chain.dialects.v1_2.events import DECODERS

        return DECODERS


DIALECT = V1_2
"""The class that `decloud_pl.chain.dialects` instantiates."""
