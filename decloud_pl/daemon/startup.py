"""Wait at the start for an unreachable endpoint: a service may start before the machine's network is up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from decloud_pl.chain.endpoint import LONGEST_ASKED_WAIT
from decloud_pl.errors import RpcUnavailable
from decloud_pl.retry import Backoff
from decloud_pl.rounds.events import Reporter, Trouble

T = TypeVar("T")

SHORT = (0.5, 1.0, 2.0, 4.0)
"""Seconds between the attempts of a command whose user is waiting."""
ENDLESS = Backoff(0.5, 60.0)
"""The waits of an unattended daemon, in seconds."""


class StoppedWaiting(Exception):
    """A stop was requested during the wait."""


async def answered(
    ask: Callable[[], Awaitable[T]],
    reporter: Reporter,
    waits: Iterable[float],
    *,
    stopping: asyncio.Event | None = None,
) -> T:
    """Call ``ask`` until an endpoint answers, and return its result.

    Args:
        ask: queries the chain.
        reporter: receives each failure, with the time until the next attempt.
        waits: seconds between the attempts; after the last attempt, the failure is raised.
        stopping: ends the wait when it is set.

    Raises:
        RpcUnavailable: the failure of the last attempt. Other errors, such as a wrong network, are raised at once.
        StoppedWaiting: ``stopping`` was set.
    """
    remaining = iter(waits)
    stopping = stopping or asyncio.Event()
    while True:
        try:
            return await _unless_stopped(ask, stopping)
        except RpcUnavailable as error:
            wait = next(remaining, None)
            if wait is None:
                raise
            wait = max(wait, min(error.retry_after or 0.0, LONGEST_ASKED_WAIT))
            reporter.report(Trouble.then(None, error, f"Retrying in {wait:g} s."))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await stopping.wait()
            raise StoppedWaiting


async def _unless_stopped(ask: Callable[[], Awaitable[T]], stopping: asyncio.Event) -> T:
    """Return the result of ``ask``. Stop waiting if ``stopping`` is set: a silent endpoint must not delay a stop.

    Raises:
        StoppedWaiting: ``stopping`` was set before ``ask`` ended.
    """
    asking, stopped = asyncio.ensure_future(ask()), asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait({asking, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not asking.done():
            raise StoppedWaiting
        return asking.result()
    finally:
        asking.cancel()
        stopped.cancel()
        await asyncio.gather(asking, stopped, return_exceptions=True)
