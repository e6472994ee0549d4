"""The clock and the sleep of the RPC client, which tests replace."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Protocol


class Pace(Protocol):
    """A monotonic clock, a sleep on it, and jitter for back-off."""

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...

    def jitter(self, seconds: float) -> float:
        """Return a random duration of about ``seconds``, so that many clients do not retry at the same time."""
        ...


class RealPace:
    """The clock of this machine."""

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def jitter(self, seconds: float) -> float:
        return seconds * random.uniform(0.5, 1.0)
