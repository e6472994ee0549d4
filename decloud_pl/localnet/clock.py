"""The local network's clock, in Unix seconds. Slots are derived from it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Returns Unix seconds. It may run faster than real time, but never backwards."""

    def now(self) -> float: ...


class ScaledClock:
    """Starts at the machine's time and then runs ``speed`` times as fast."""

    def __init__(self, speed: float = 1.0) -> None:
        self._speed = speed
        self._unix = time.time()
        self._monotonic = time.monotonic()

    def now(self) -> float:
        return self._unix + (time.monotonic() - self._monotonic) * self._speed


class ManualClock:
    """Moves only when `advance` is called. For tests."""

    def __init__(self, unix: float = 1_800_000_000.0) -> None:
        self.unix = unix

    def now(self) -> float:
        return self.unix

    def advance(self, seconds: float) -> None:
        self.unix += seconds
