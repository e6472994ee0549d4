"""The local network's time: Unix seconds that slots are counted from."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Unix seconds; may run faster than the world, never backwards."""

    def now(self) -> float: ...


class ScaledClock:
    """The machine's time, running ``speed`` times as fast from the moment it is made."""

    def __init__(self, speed: float = 1.0) -> None:
        self._speed = speed
        self._unix = time.time()
        self._monotonic = time.monotonic()

    def now(self) -> float:
        return self._unix + (time.monotonic() - self._monotonic) * self._speed


class ManualClock:
    """Stands still until told to go on; for tests."""

    def __init__(self, unix: float = 1_800_000_000.0) -> None:
        self.unix = unix

    def now(self) -> float:
        return self.unix

    def advance(self, seconds: float) -> None:
        self.unix += seconds
