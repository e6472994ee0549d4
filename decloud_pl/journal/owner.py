"""Whose rounds: a network, a program on it and a wallet. A home may hold the rounds of several."""

from __future__ import annotations

from dataclasses import dataclass

_NETWORK_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Scope:
    """The owner of a journal's rows; ``network`` is the chain's genesis hash, or empty in old journals."""

    network: str
    program_id: str
    wallet: str

    @property
    def folder(self) -> str:
        """A name for its folders under ``rounds`` and ``reports``, and its key in the activity file."""
        network = f"{self.network[:_NETWORK_LENGTH]}-" if self.network else ""
        return f"{network}{self.program_id}-{self.wallet}"
