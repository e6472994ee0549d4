"""Run coroutines from synchronous code, in an event loop in a separate thread.

`asyncio.run` fails in a notebook, where a loop is running already.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")
_LOOK_SECONDS = 0.3


class LoopThread:
    """An event loop in a separate thread. The loop runs from the construction of this object until `close`.

    Args:
        name: the thread's name.
    """

    def __init__(self, name: str) -> None:
        started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

        async def serve() -> None:
            stop = asyncio.Event()
            started.set_result((asyncio.get_running_loop(), stop))
            await stop.wait()

        # A daemon thread does not keep a script alive that ends without `close`.
        self._thread = threading.Thread(target=lambda: asyncio.run(serve()), name=name, daemon=True)
        self._thread.start()
        self._loop, self._stop = started.result()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine and return its result.

        On Ctrl-C, cancel the coroutine, wait for its clean-up and raise `KeyboardInterrupt`.
        """
        outcome: Future[T] = Future()
        tasks: list[asyncio.Task[T]] = []

        def begin() -> None:
            tasks.append(self._loop.create_task(work))
            tasks[0].add_done_callback(lambda task: _hand_over(task, outcome))

        def cancel() -> None:
            if tasks:
                tasks[0].cancel()
            else:  # Ctrl-C came before `begin` was scheduled
                work.close()
                outcome.cancel()

        try:
            self._loop.call_soon_threadsafe(begin)
            return outcome.result()
        except KeyboardInterrupt:
            if not outcome.done():
                self._loop.call_soon_threadsafe(cancel)
                with contextlib.suppress(CancelledError):
                    outcome.exception()
            raise

    def close(self) -> None:
        """Stop the loop and its thread, and cancel the remaining tasks."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()


def run_until(stop: threading.Event, work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a new event loop in the calling thread, and return the coroutine's result.

    If ``stop`` is set, cancel the coroutine.

    Raises:
        CancelledError: the coroutine was cancelled, and its clean-up has ended.
    """

    async def watch() -> T:
        task = asyncio.ensure_future(work)
        while not task.done() and not stop.is_set():
            await asyncio.wait({task}, timeout=_LOOK_SECONDS)
        task.cancel()  # has no effect on a completed task
        return await task

    try:
        return asyncio.run(watch())
    except asyncio.CancelledError:
        raise CancelledError from None


def _hand_over(task: asyncio.Task[T], outcome: Future[T]) -> None:
    if task.cancelled():
        outcome.set_exception(CancelledError())
    elif (error := task.exception()) is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(task.result())


async def in_own_thread(work: Callable[[], T]) -> T:
    """Run ``work`` in a new thread and return its result.

    The program can exit while this thread is running. With `asyncio.to_thread`, the program would wait for the thread.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[T] = loop.create_future()

    def settle(settled: Callable[[], None]) -> None:
        if not ended.done():  # no task waits for the result any more
            settled()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - raised in the waiting task
            settled = partial(ended.set_exception, error)
        else:
            settled = partial(ended.set_result, result)
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, settled)

    threading.Thread(target=run, name="own", daemon=True).start()
    return await ended
