"""Define the owner of a journal's rows: a network, a program and a wallet.

One home folder, and its journal, may hold the rounds of several owners.
"""

from __future__ import annotations

from typing import NamedTuple

_NETWORK_LENGTH = 8


class Owner(NamedTuple):
    """A network, a program and a wallet. The rows of two owners may have the same round number.

    Attributes:
        network: the chain's genesis hash; empty if it is not known.
        program_id: the program's address, base58.
        wallet: the wallet's address, base58.
    """

    network: str
    program_id: str
    wallet: str

    @property
    def folder(self) -> str:
        """The name of the owner's folders under ``rounds`` and ``reports``, and its key in the activity file."""
        network = f"{self.network[:_NETWORK_LENGTH]}-" if self.network else ""
        return f"{network}{self.program_id}-{self.wallet}"


NOBODY = Owner("", "", "")
"""An owner without rows, for work on the rows of all owners."""
