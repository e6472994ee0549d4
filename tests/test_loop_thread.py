"""Synchronous callers run coroutines, even if an event loop is already running."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from decloud_pl.loop_thread import LoopThread


@pytest.fixture
def thread() -> Iterator[LoopThread]:
    found = LoopThread("under-test")
    yield found
    found.close()
    assert "under-test" not in {entry.name for entry in threading.enumerate()}


async def double(number: int) -> int:
    await asyncio.sleep(0)
    if number < 0:
        raise ValueError(number)
    return number * 2


def test_a_result_and_an_exception_reach_the_caller(thread: LoopThread) -> None:
    assert thread.run(double(2)) == 4
    with pytest.raises(ValueError, match="-1"):
        thread.run(double(-1))


async def test_it_works_where_a_loop_runs(thread: LoopThread) -> None:
    assert thread.run(double(4)) == 8


def test_ctrl_c_cancels_the_work_and_waits_for_its_clean_up(thread: LoopThread) -> None:
    steps: list[str] = []

    async def work() -> None:
        steps.append("begun")
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            steps.append("cleaned up")

    with pytest.raises(KeyboardInterrupt):
        thread.run(work())
    assert steps == ["begun", "cleaned up"]
    assert thread.run(double(3)) == 6


def test_child_processes_can_be_started(thread: LoopThread) -> None:
    async def work() -> int:
        process = await asyncio.create_subprocess_exec("true")
        return await process.wait()

    assert thread.run(work()) == 0
