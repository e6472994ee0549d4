"""Content-addressed storage: CIDs, stores that keep files, and gateways that deliver them verified."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from decloud_pl.store.cid import DEFAULT_PROFILE

__all__ = ["Store", "Stored"]


@dataclass(frozen=True, slots=True)
class Stored:
    """What a store says it keeps: the CID it gives the file, the profile if it is known, the size in bytes."""

    cid: str
    profile: str
    size: int


class Store(Protocol):
    """Keeps files so that others can fetch them by CID.

    One method, because publishing needs no more: what a store claims is proven by reading it back elsewhere.
    """

    name: str

    def put(self, path: Path, profile: str = DEFAULT_PROFILE) -> Stored:
        """Keeps a file; the same file twice is kept once.

        Raises:
            StoreUnavailable: try again later.
            StoreError: trying again will not help.
        """
        ...
