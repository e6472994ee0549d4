"""A clean stop completes even if a task loses its cancellation."""

from __future__ import annotations

import asyncio

from decloud_pl.daemon.loop import cancel_all


async def test_a_task_that_misses_its_cancellation_is_cancelled_again() -> None:
    missed: list[int] = []

    async def deaf() -> None:
        for count in range(2):
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:  # like `asyncio.wait_for` when its result arrives at the same time
                missed.append(count)
        await asyncio.sleep(3600)

    tasks = [asyncio.create_task(deaf()), asyncio.create_task(asyncio.sleep(3600))]
    await asyncio.sleep(0)
    await asyncio.wait_for(cancel_all(tasks, again_after=0.01), 10)
    assert missed == [0, 1]
    assert all(task.cancelled() for task in tasks)


async def test_nothing_to_cancel_is_no_wait() -> None:
    await cancel_all([], again_after=3600)
