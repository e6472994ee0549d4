"""Waits between attempts: exponential back-off, and what a server asks for by ``Retry-After``."""

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
"""Seconds. A server that asks for more is asked again after an hour."""
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_DOUBLINGS = 32


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double from ``first`` to ``longest``, in seconds."""

    first: float
    longest: float

    def after(self, failures: int) -> float:
        """The wait after so many failures in a row, counted from 1."""
        return min(self.first * 2.0 ** min(failures - 1, _DOUBLINGS), self.longest)

    def waits(self) -> Iterator[float]:
        """The wait after each failure, without end."""
        return (self.after(failures) for failures in itertools.count(1))


def retry_after(header: str, *, now: Callable[[], float] = time.time) -> float | None:
    """Seconds to wait by a ``Retry-After`` header, at most `LONGEST_RETRY_AFTER` (RFC 9110, section 10.2.3).

    Args:
        header: a number of seconds or a date.
        now: Unix seconds, to read a date by.

    Returns:
        None for a header that is neither.
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
    """How a store bridges a short disturbance by itself; longer ones are its caller's to wait out.

    Attributes:
        attempts: in all.
        backoff: between them. A store that asks for a longer wait is not asked again: the error says so.
        sleep: takes the seconds; tests inject one that does not wait.
    """

    attempts: int = 4
    backoff: Backoff = Backoff(0.5, 8.0)
    sleep: Callable[[float], None] = _jittered_sleep

    def call(self, work: Callable[[], T]) -> T:
        """Does ``work`` until it does not raise `StoreUnavailable`, or the attempts run out.

        Raises:
            StoreUnavailable: the last one.
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
