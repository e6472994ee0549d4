"""How far an update has come with each store, written down before and after every effect."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class UploadState(StrEnum):
    """One update at one store.

    ::

        begun → stored → readable
              ↘ wrong            the store gave a CID of other bytes
    """

    BEGUN = "begun"
    STORED = "stored"
    READABLE = "readable"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Upload:
    """One row: the store, the update's own CID, how far it is, and the CID the store gave once there is one."""

    store: str
    update_cid: str
    state: UploadState
    cid: str | None = None


class UploadLog(Protocol):
    """Remembers the uploads of one round. `save` returns once the row is on disk."""

    def get(self, store: str) -> Upload | None: ...

    def save(self, upload: Upload) -> None: ...


class MemoryUploadLog:
    """Remembers for as long as the process lives, for uploads outside the daemon."""

    def __init__(self) -> None:
        self._uploads: dict[str, Upload] = {}

    def get(self, store: str) -> Upload | None:
        return self._uploads.get(store)

    def save(self, upload: Upload) -> None:
        self._uploads[upload.store] = upload
