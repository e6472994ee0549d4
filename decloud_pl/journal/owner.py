"""Whose rounds a journal's rows are. A home may hold the rounds of several."""

from __future__ import annotations

from typing import NamedTuple

_NETWORK_LENGTH = 8


class Owner(NamedTuple):
    """A network, a program on it and a wallet: round numbers mean something only within all three.

    Attributes:
        network: the chain's genesis hash; empty where it is not known.
        program_id: base58.
        wallet: its address, base58.
    """

    network: str
    program_id: str
    wallet: str

    @property
    def folder(self) -> str:
        """The name of its folders under ``rounds`` and ``reports``, and its key in the activity file."""
        network = f"{self.network[:_NETWORK_LENGTH]}-" if self.network else ""
        return f"{network}{self.program_id}-{self.wallet}"


NOBODY = Owner("", "", "")
"""Of no row: for work on a whole journal, whoever its rows belong to."""
