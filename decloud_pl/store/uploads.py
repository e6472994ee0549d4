"""A log of an update's uploads, with one row per store.

The row is saved before the upload, after the upload, and after the stored copy was read back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class UploadState(StrEnum):
    """The state of one update at one store.

    ::

        begun → stored → readable
              ⇄ wrong            the store returned a CID that does not match the update; a later upload may follow
    """

    BEGUN = "begun"
    STORED = "stored"
    READABLE = "readable"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Upload:
    """One row of the log: the store's name, the update's own CID, the state, and the CID from the store, if any."""

    store: str
    update_cid: str
    state: UploadState
    cid: str | None = None


class UploadLog(Protocol):
    """Records the uploads of one round. `save` returns once the row is on disk."""

    def get(self, store: str) -> Upload | None: ...

    def save(self, upload: Upload) -> None: ...


class MemoryUploadLog:
    """A log in memory, for uploads outside the daemon."""

    def __init__(self) -> None:
        self._uploads: dict[str, Upload] = {}

    def get(self, store: str) -> Upload | None:
        return self._uploads.get(store)

    def save(self, upload: Upload) -> None:
        self._uploads[upload.store] = upload
