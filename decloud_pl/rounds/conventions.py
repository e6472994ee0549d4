"""Choose the convention to assume for each validator, and give the reason."""

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
    """The convention that a validator is assumed to use.

    Attributes:
        convention: how the validator applies an update's entries.
        why: the reason; completes "…, because …".
    """

    convention: Convention
    why: str


@dataclass(frozen=True)
class Conventions:
    """Chooses the convention of a validator.

    The user's setting decides. Without it, the convention shown by the validator's completed rounds applies. If they
    show none, the convention of the published validator software for the program's revision applies.

    Args:
        network: the user's settings of the network.
        dialect: the dialect of the network's program.
        journal: holds what completed rounds show about their validators' conventions.
    """

    network: NetworkConfig
    dialect: Dialect
    journal: JournalReader

    def of(self, validator: Pubkey | str | None) -> Choice:
        """Return the convention to assume for a validator. Pass None for an unknown validator."""
        if self.network.convention != AUTO:
            return Choice(self.network.read_convention, "network.convention sets it")
        for reading in [] if validator is None else readings(self.journal, str(validator)):
            if reading.convention is not None:  # the latest conclusive round
                why = f"the shares that the validator gave in round {reading.round_id} fit it best"
                return Choice(reading.convention, why)
        why = "no round of this validator shows its convention, and its public software is meant to use this one"
        return Choice(self.dialect.reading.convention, why)
