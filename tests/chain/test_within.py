"""A time limit ends what takes too long, and no cancellation is lost."""

from __future__ import annotations

import asyncio

import pytest

from decloud_pl.chain.within import within


async def test_in_time() -> None:
    async def quick() -> int:
        return 7

    assert await within(10, quick()) == 7
    assert await within(None, quick()) == 7


async def test_too_late() -> None:
    ended = asyncio.Event()

    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    with pytest.raises(asyncio.TimeoutError):
        await within(0.01, slow())
    assert ended.is_set()


async def test_its_error_is_passed_on() -> None:
    async def fail() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await within(10, fail())


async def test_a_cancellation_that_comes_with_the_result_is_not_lost() -> None:
    result: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(within(10, result))
    await asyncio.sleep(0)
    result.set_result(7)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
