"""A time limit that lets no cancellation get lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def within(seconds: float | None, awaitable: Awaitable[T]) -> T:
    """Awaits something for at most ``seconds``; None means without a limit.

    Before Python 3.12 `asyncio.wait_for` returns the result and forgets the cancellation when both come at once
    (https://github.com/python/cpython/issues/86296), so that a loop around it could not be stopped.

    Raises:
        asyncio.TimeoutError: it took longer; it was cancelled and has ended.
    """
    task = asyncio.ensure_future(awaitable)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        await _end(task)
        raise
    if not done:
        await _end(task)
        if task.cancelled():
            raise asyncio.TimeoutError
    return task.result()


async def _end(task: asyncio.Future[T]) -> None:
    """Cancels a task and waits for what it still has to do, however long that takes."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # looked at, so that asyncio does not complain that nobody has
