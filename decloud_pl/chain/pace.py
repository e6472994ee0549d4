"""The clock and the sleep that the RPC client uses. Tests replace both."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Protocol


class Pace(Protocol):
    """A monotonic clock, a sleep that this clock measures, and jitter for back-off."""

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...

    def jitter(self, seconds: float) -> float:
        """Return a random duration of at most ``seconds``, so that many clients do not retry at the same time."""
        ...


class RealPace:
    """The clock and the sleep of this machine."""

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def jitter(self, seconds: float) -> float:
        return seconds * random.uniform(0.5, 1.0)
