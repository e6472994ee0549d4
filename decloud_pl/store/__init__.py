"""Content-addressed storage: CIDs, stores that keep files, and gateways that deliver them verified."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from decloud_pl.domain import Update, UpdateForm
from decloud_pl.store.ipfs.cid import DEFAULT_PROFILE

__all__ = ["LocalStore", "Progress", "Publisher", "RoundPublisher", "Store", "Stored"]

Progress = Callable[[int, int], None]
"""Told (bytes sent, bytes in all) as an upload goes on; what it raises ends the upload."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a store says it keeps: the CID it gives the file, the profile asked for, the size in bytes."""

    cid: str
    profile: str
    size: int


@runtime_checkable
class Store(Protocol):
    """Keeps files so that others can fetch them by CID.

    It has no method to read: what a store claims is proven by reading it back elsewhere.
    """

    name: str

    def put(self, path: Path, profile: str = DEFAULT_PROFILE, *, progress: Progress | None = None) -> Stored:
        """Keeps a file; the same file twice is kept once.

        Raises:
            StoreUnavailable: try again later.
            StoreRejected: only the user can mend it.
            StoreError: trying again will not help.
        """
        ...

    def has(self, cid: str) -> bool:
        """Whether the store keeps (has pinned) what this CID names.

        Raises:
            InvalidCid: not a CID.
            StoreUnavailable, StoreRejected: as `put`.
        """
        ...

    def check(self) -> str:
        """Asks the store whether this program may use it; returns one sentence about what answered.

        Raises:
            StoreUnavailable, StoreRejected: as `put`.
        """
        ...


@runtime_checkable
class LocalStore(Store, Protocol):
    """A store on this machine, whose files are the user's to remove."""

    def cids(self) -> list[str]:
        """The CIDs of all files kept."""
        ...

    def gc(self, keep: Collection[str]) -> list[str]:
        """Removes every file whose CID is not in ``keep``; returns the CIDs of what it removed."""
        ...


class Publisher(Protocol):
    """Where a finished update goes: into a store, into a round, or into a list of the caller's."""

    def publish(self, update: Update) -> object:
        """Takes an update, which lies on disk, and returns when nothing is left to do with it."""
        ...


@runtime_checkable
class RoundPublisher(Publisher, Protocol):
    """A publisher that says how its round wants the update."""

    @property
    def update_form(self) -> UpdateForm:
        """Where the update is written, and how its entries are read."""
        ...
