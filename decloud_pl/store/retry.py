"""Trying again, as data: how often, and how long between."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from decloud_pl.errors import StoreUnavailable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How a store bridges a short disturbance by itself; longer ones are its caller's to wait out.

    Attributes:
        attempts: tries in all.
        first_wait: seconds before the second try; doubled for each later one.
        longest_wait: seconds. A store that asks for more (``Retry-After``) is left alone: the error says so.
    """

    attempts: int = 4
    first_wait: float = 0.5
    longest_wait: float = 8.0

    def wait_after(self, attempt: int) -> float:
        """Seconds to wait after a failed try, counted from 0."""
        return min(self.first_wait * 2.0**attempt, self.longest_wait)


def _jittered_sleep(seconds: float) -> None:
    time.sleep(seconds * random.uniform(0.8, 1.2))


@dataclass(frozen=True, slots=True)
class Retry:
    """A policy with the sleep it uses; tests inject one that does not wait."""

    policy: RetryPolicy = RetryPolicy()
    sleep: Callable[[float], None] = _jittered_sleep

    def call(self, work: Callable[[], T]) -> T:
        """Does ``work`` until it does not raise `StoreUnavailable`, or the policy ends.

        Raises:
            StoreUnavailable: the last one.
        """
        attempt = 0
        while True:
            try:
                return work()
            except StoreUnavailable as error:
                asked = error.retry_after
                wait = self.policy.wait_after(attempt) if asked is None else asked
                attempt += 1
                if attempt >= self.policy.attempts or wait > self.policy.longest_wait:
                    raise
            self.sleep(wait)
