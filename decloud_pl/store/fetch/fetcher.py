"""The interface for downloads by CID, and functions that end a download when the waiting task is cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

T = TypeVar("T")

NEVER = threading.Event()
"""The default of ``cancel``. It must never be set."""


FROM_CACHE = "cache"


class Cancelled(Exception):
    """The caller cancelled the download."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A finished download: the gateway that delivered it (or `FROM_CACHE`) and the size in bytes."""

    gateway: str
    size: int


class Fetcher(Protocol):
    """Fetches a file by CID and verifies it. Any thread may set ``cancel``; `fetch` then raises `Cancelled` soon."""

    def fetch(self, cid: str, destination: Path, *, max_bytes: int, cancel: threading.Event = NEVER) -> Fetched: ...


async def in_thread(work: Callable[[threading.Event], T]) -> T:
    """Call ``work`` in a thread, and pass it an event that is set when the calling task is cancelled."""
    cancel = threading.Event()
    try:
        return await asyncio.to_thread(work, cancel)
    finally:
        cancel.set()


async def fetch_in_task(reader: Fetcher, cid: str, destination: Path, *, max_bytes: int) -> None:
    """Call the reader's ``fetch`` in a thread. If the calling task is cancelled, the download ends."""
    await in_thread(lambda cancel: reader.fetch(cid, destination, max_bytes=max_bytes, cancel=cancel))
