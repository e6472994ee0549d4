"""The clock and the sleep function that the RPC client uses. Tests replace both."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Protocol


class Pace(Protocol):
    """A monotonic clock in seconds, a sleep function, and random waits for back-off."""

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...

    def jitter(self, seconds: float) -> float:
        """Return a random wait of at most ``seconds``, so that many clients do not retry at the same time."""
        ...


class RealPace:
    """The system clock, and a sleep function that really sleeps."""

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def jitter(self, seconds: float) -> float:
        return seconds * random.uniform(0.5, 1.0)
