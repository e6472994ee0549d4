"""What fetches files, and how a cancelled task ends a download."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

T = TypeVar("T")

NEVER = threading.Event()
"""The default of ``cancel``; nobody sets it."""


class Cancelled(Exception):
    """The download was ended from outside."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A finished download: the gateway that delivered it and the size in bytes."""

    gateway: str
    size: int


class Fetcher(Protocol):
    """Delivers a file by CID, verified. Setting ``cancel`` makes `fetch` raise `Cancelled` soon, from any thread."""

    def fetch(self, cid: str, destination: Path, *, max_bytes: int, cancel: threading.Event = NEVER) -> Fetched: ...


async def in_thread(work: Callable[[threading.Event], T]) -> T:
    """Runs in a thread what fetches files; ``work`` gets the event that a cancellation of this task sets."""
    cancel = threading.Event()
    try:
        return await asyncio.to_thread(work, cancel)
    finally:
        cancel.set()


async def fetch_in_task(reader: Fetcher, cid: str, destination: Path, *, max_bytes: int) -> None:
    """As the reader's ``fetch``, in a thread that a cancellation of this task ends."""
    await in_thread(lambda cancel: reader.fetch(cid, destination, max_bytes=max_bytes, cancel=cancel))
