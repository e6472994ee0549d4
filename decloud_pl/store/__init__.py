"""Content-addressed storage: CIDs, stores that pin files, and verified downloads through gateways."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from decloud_pl.domain import Update, UpdateForm
from decloud_pl.store.ipfs.cid import DEFAULT_PROFILE

__all__ = ["LocalStore", "Progress", "Publisher", "RoundPublisher", "Store", "Stored"]

Progress = Callable[[int, int], None]
"""Called with (bytes sent, total bytes) during an upload. An exception that it raises ends the upload."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a store reports about a stored file: its CID, the requested IPFS profile and its size in bytes."""

    cid: str
    profile: str
    size: int


@runtime_checkable
class Store(Protocol):
    """Keeps files so that others can fetch them by CID.

    It has no method to read files. Only a download through another service proves that a file is available.
    """

    name: str

    def put(self, path: Path, profile: str = DEFAULT_PROFILE, *, progress: Progress | None = None) -> Stored:
        """Store a file. Storing the same file again creates no second copy.

        Raises:
            StoreUnavailable: the failure is temporary; a later retry may succeed.
            StoreRejected: the store refuses the file until the user changes something.
            StoreError: any other failure; a retry will not help.
        """
        ...

    def has(self, cid: str) -> bool:
        """Return whether the store has pinned the file with this CID.

        Raises:
            InvalidCid: ``cid`` is not a CID.
            StoreUnavailable, StoreRejected: as `put`.
        """
        ...

    def check(self) -> str:
        """Check that this program may use the store; return one sentence that describes the store.

        Raises:
            StoreUnavailable, StoreRejected: as `put`.
        """
        ...


@runtime_checkable
class LocalStore(Store, Protocol):
    """A store on this machine. It can list and remove its files."""

    def cids(self) -> list[str]:
        """Return the CIDs of all stored files."""
        ...

    def gc(self, keep: Collection[str]) -> list[str]:
        """Remove every file whose CID is not in ``keep``; return the CIDs of the removed files."""
        ...


class Publisher(Protocol):
    """Receives a finished update, for example to upload it, to submit it, or to keep it in a list."""

    def publish(self, update: Update) -> object:
        """Publish an update whose file is on disk; return when the publication is complete."""
        ...


@runtime_checkable
class RoundPublisher(Publisher, Protocol):
    """A publisher for one round. It also specifies the form that the round's update must have."""

    @property
    def update_form(self) -> UpdateForm:
        """The file to write the update to, and the convention and encoding that its entries must have."""
        ...
