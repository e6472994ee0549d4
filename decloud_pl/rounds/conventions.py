"""How each validator reads updates, and why it is thought to."""

from __future__ import annotations

from dataclasses import dataclass

from solders.pubkey import Pubkey

from decloud_pl.chain.dialect import Dialect
from decloud_pl.chain.network import AUTO
from decloud_pl.config import NetworkConfig
from decloud_pl.domain import Convention
from decloud_pl.journal.findings import readings
from decloud_pl.journal.reader import JournalReader


@dataclass(frozen=True, slots=True)
class Choice:
    """How a validator is taken to read updates.

    Attributes:
        convention: what the entries mean to it.
        gradient_rate: η of the ``gradient`` convention.
        why: completes "…, because …".
    """

    convention: Convention
    gradient_rate: float
    why: str


@dataclass(frozen=True)
class Conventions:
    """Chooses by the user's setting, then by the validator's own rounds, then by what its public software computes.

    Args:
        network: the user's settings of the network.
        dialect: of its program.
        journal: holds what rounds have shown.
    """

    network: NetworkConfig
    dialect: Dialect
    journal: JournalReader

    def of(self, validator: Pubkey | str | None) -> Choice:
        """How a validator reads updates; None for one that is not known."""
        rate = self.network.gradient_rate
        if self.network.convention != AUTO:
            return Choice(self.network.read_convention, rate, "network.convention is set to it")
        for reading in [] if validator is None else readings(self.journal, str(validator)):
            if reading.convention is not None:  # the latest round that tells
                return Choice(reading.convention, rate, f"the validator's shares in round {reading.round_id} show it")
        assumed = self.dialect.reading
        why = "no round of this validator shows how it reads updates, and its public software is meant to read them so"
        return Choice(assumed.convention, rate, why)
