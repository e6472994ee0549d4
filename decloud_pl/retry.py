"""How long to wait between attempts: exponential back-off, and the ``Retry-After`` header."""

from __future__ import annotations

import itertools
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar

from decloud_pl.errors import StoreUnavailable

T = TypeVar("T")

LONGEST_RETRY_AFTER = 3600.0
"""The longest wait in seconds, even if a server sends a longer one."""
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_DOUBLINGS = 32


@dataclass(frozen=True, slots=True)
class Backoff:
    """A series of waits that starts with ``first`` seconds. Each is twice the previous one, at most ``longest``."""

    first: float
    longest: float

    def after(self, failures: int) -> float:
        """Return how many seconds to wait after this many consecutive failures (at least 1)."""
        return min(self.first * 2.0 ** min(failures - 1, _DOUBLINGS), self.longest)

    def waits(self) -> Iterator[float]:
        """Yield, without end, the seconds to wait after the first failure, after the second, and so on."""
        return (self.after(failures) for failures in itertools.count(1))


def retry_after(header: str, *, now: Callable[[], float] = time.time) -> float | None:
    """Parse a ``Retry-After`` header (RFC 9110, section 10.2.3).

    Args:
        header: a number of seconds or a date.
        now: returns the current time in Unix seconds.

    Returns:
        Seconds to wait, at most `LONGEST_RETRY_AFTER`; None if the header is invalid.
    """
    try:
        seconds = float(header) if _NUMBER.fullmatch(header) else parsedate_to_datetime(header).timestamp() - now()
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER)


def _jittered_sleep(seconds: float) -> None:
    time.sleep(seconds * random.uniform(0.8, 1.2))


@dataclass(frozen=True, slots=True)
class Retry:
    """How a store retries a failed request. If all attempts fail, the store raises the error of the last attempt.

    Attributes:
        attempts: number of attempts, including the first.
        backoff: the waits between attempts. If the server asks for a wait longer than ``backoff.longest``, the error is
            raised at once.
        sleep: waits a number of seconds; tests replace it.
    """

    attempts: int = 4
    backoff: Backoff = Backoff(0.5, 8.0)
    sleep: Callable[[float], None] = _jittered_sleep

    def call(self, work: Callable[[], T]) -> T:
        """Call ``work`` until it succeeds, at most ``attempts`` times, and return its result.

        Raises:
            StoreUnavailable: the error of the last attempt.
        """
        failures = 0
        while True:
            try:
                return work()
            except StoreUnavailable as error:
                failures += 1
                wait = self.backoff.after(failures) if error.retry_after is None else error.retry_after
                if failures >= self.attempts or wait > self.backoff.longest:
                    raise
            self.sleep(wait)
