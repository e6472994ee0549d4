"""The daemon's loop: a queue keyed by round, at most one task per round, and a clean stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any

from decloud_pl.chain.events import ValidationCompleted
from decloud_pl.chain.watch import Disconnected, Subscribed, Watched
from decloud_pl.daemon import startup
from decloud_pl.daemon.stopping import OpenRound, said_at_once
from decloud_pl.errors import JournalError, MachineShortage, RpcUnavailable
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.ranges import LONGEST_POLL_INTERVAL
from decloud_pl.rounds.background import Background
from decloud_pl.rounds.drive import Again, Driver
from decloud_pl.rounds.events import Connected, Trouble
from decloud_pl.rounds.failures import InternalError, reportable
from decloud_pl.rounds.policy import Policy
from decloud_pl.rounds.steps import Steps
from decloud_pl.train.plan import CHECKPOINT_FILE

logger = logging.getLogger(__name__)

_NODE_SECONDS = 2.0
"""How long after an event to look at its round again: the first look may be answered by a node that is behind."""
_POLLS_WHILE_WATCHING = 12
"""While the WebSocket works, polling is only a safety net and at most this many times slower."""

_CANCEL_AGAIN = 1.0
_CANCEL_TRAINING_AGAIN = 40.0
"""Seconds. It is longer than the executor's limit for the checkpoint of a stopped training."""

_NEWS_AGAIN = 600.0
"""A failure is reported again if it has not occurred for this many seconds."""
_DIGITS = re.compile(r"[0-9]+")

Watch = Callable[[], AsyncIterator[Watched]]


class Daemon:
    """Runs until `stop` is called or ``policy.stop_after`` rounds have ended."""

    def __init__(
        self,
        steps: Steps,
        policy: Policy,
        watch: Watch,
        *,
        background: Sequence[Background] = (),
        now: Callable[[], float] = time.time,
    ) -> None:
        self.steps = steps
        self._background = background  # work on completed rounds
        self._policy = policy
        self._watch = watch
        self._stopping = asyncio.Event()
        # Keyed by round, so that an event and a poll for the same round start only one task.
        self._due: dict[int, None] = {}
        self._wake = asyncio.Event()
        self._tasks: dict[int, asyncio.Task[Again | None]] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._watching = False
        self._subscribed = asyncio.Event()
        self._told: dict[str, float] = {}
        self._asked_of_ended = 0
        self._failure: BaseException | None = None
        self.driver = Driver(steps, policy, now=now)
        self.discovery = self.driver.discovery

    @property
    def ended(self) -> list[RoundRecord]:
        """The rounds that ended in this run, in the order in which they ended."""
        return list(self.driver.ended)

    def stop(self) -> None:
        """Request a clean stop: transactions and uploads finish first, and trainings end at a checkpoint.

        All files stay on disk for the next start.
        """
        self.driver.stopping = True
        self._stopping.set()
        self._wake.set()

    @property
    def stop_words(self) -> str:
        """A sentence that says what happens if the daemon is stopped now."""
        finishing = {*self.driver.finishing, *self._ready()}
        return said_at_once(self.driver.training, finishing, self._policy.stop_seconds)

    def open_rounds(self, round_id: int | None = None) -> list[OpenRound]:
        """Return the rounds that are not over. If ``round_id`` is given, return only that round."""
        steps, driver = self.steps, self.driver
        return [
            OpenRound(
                record,
                driver.deadline(record.round_id),
                has_checkpoint=(steps.folder(record.round_id) / CHECKPOINT_FILE).exists(),
            )
            for record in steps.journal.unfinished()
            if round_id in (None, record.round_id)
        ]

    async def run(self) -> None:
        """Work until stopped.

        Raises:
            ChainError: the endpoint does not answer at the start, or its network has no DECLOUD program.
            RoundError: the policy's ``only_round`` does not exist.
            JournalError: the journal cannot be written. Without the journal, a transaction might be sent twice.
        """
        await self._begin()
        self._policy.on_downloaded(partial(_soon, asyncio.get_running_loop(), self._mark_unready))
        looks = [self._follow_events, self._poll, self._reconcile, self._follow_upgrades]
        looks += [work.gather for work in self._background]
        sources = [asyncio.create_task(look()) for look in looks]
        for task in sources:
            task.add_done_callback(self._give_up_on_failure)
        try:
            await self._serve()
        finally:
            await cancel_all(sources, again_after=_CANCEL_AGAIN)
            await self._drain()
        if self._failure is not None:
            raise self._failure

    async def _begin(self) -> None:
        """Connect to the chain and queue its rounds.

        If no endpoint answers, retry a few times. If the policy has ``wait_for_endpoint``, retry until one answers.
        """
        steps = self.steps

        async def look() -> None:
            balance = await steps.chain.rpc.balance(steps.wallet.address)
            steps.reporter.report(Connected(str(steps.wallet.address), balance))
            revisions = steps.revisions
            if revisions is not None:
                await revisions.begin()
            only = self._policy.only_round
            if only is None:  # otherwise the user may be working in the folder of another round
                steps.delete_leftovers()
            elif not await self.driver.reopen(only):
                self.stop()
                return
            self._mark([] if only is None else [only])  # it may be too old for a search
            if revisions is None or revisions.is_supported:
                self._mark(await self.discovery.reconcile())
            else:  # the accounts may have another layout, so reading them may fail
                await self._try(self.discovery.reconcile, again=self._policy.reconcile_interval)

        waits = startup.ENDLESS.waits() if self._policy.wait_for_endpoint else startup.SHORT
        with contextlib.suppress(startup.StoppedWaiting):
            await startup.answered(look, steps.reporter, waits, stopping=self._stopping)

    async def _serve(self) -> None:
        while not self._stopping.is_set():
            await self._wake.wait()
            self._wake.clear()
            for round_id in [due for due in self._due if due not in self._tasks]:
                del self._due[round_id]
                task = asyncio.create_task(self.driver.drive(round_id))
                self._tasks[round_id] = task
                task.add_done_callback(partial(self._done, round_id))

    async def _drain(self) -> None:
        """Cancel the tasks that may be interrupted. Wait up to the policy's ``stop_seconds`` for the other tasks.

        Some published updates wait until shortly before their deadlines. Submit them now, while the other tasks finish,
        because the daemon will not be running at the deadlines.
        """
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        finishing = {self._tasks[round_id] for round_id in self.driver.finishing if round_id in self._tasks}
        stoppable = [task for task in self._tasks.values() if task not in finishing]
        for task in stoppable:
            task.cancel()
        ready = [] if self._failure is not None else self._ready()
        finishing |= {
            asyncio.create_task(self._submit(round_id)) for round_id in ready if round_id not in self.driver.finishing
        }
        everything = [*stoppable, *finishing]
        if everything:
            await asyncio.wait(everything, timeout=self._policy.stop_seconds)
        await cancel_all(everything, again_after=_CANCEL_TRAINING_AGAIN)

    def _ready(self) -> list[int]:
        """Return the rounds with a published update that must be submitted before the daemon stops.

        The list is empty if the journal cannot be read.
        """
        with contextlib.suppress(JournalError):
            return self.driver.ready()
        return []

    async def _submit(self, round_id: int) -> None:
        """Submit a ready update while the daemon stops. Wait first until the round's own task has ended."""
        if round_id in self._tasks:
            await asyncio.wait({self._tasks[round_id]})
        with contextlib.suppress(JournalError):  # the next start reads the journal again
            await self.driver.drive(round_id)

    def _done(self, round_id: int, task: asyncio.Task[Again | None]) -> None:
        del self._tasks[round_id]
        self._wake.set()
        self._give_up_on_failure(task)
        # Events can get lost, and polls do not report completed rounds. So use the rounds that ended here, too.
        for record in self.driver.ended[self._asked_of_ended :]:
            if record.state in (State.CLAIMED, State.UNREWARDED):
                self._ask(record.round_id)
        self._asked_of_ended = len(self.driver.ended)
        if not task.cancelled() and task.exception() is None and (again := task.result()) is not None:
            self._mark_later(round_id, again.seconds)
        most = self._policy.stop_after if self._policy.only_round is None else 1
        if most is not None and len(self.driver.ended) >= max(most, 1):
            self.stop()

    def _ask(self, round_id: int) -> None:
        """Pass a completed round to the background work, which scores the round's updates."""
        for work in self._background:
            work.ask(round_id)

    def _give_up_on_failure(self, task: asyncio.Task[Any]) -> None:
        """Stop the daemon if a task failed. Only an unusable journal or an internal error makes a task fail."""
        if not task.cancelled() and task.exception() is not None:
            self._failure = task.exception()
            self.stop()

    def _mark(self, round_ids: Iterable[int]) -> None:
        """Queue rounds for their next step. Ignore rounds that the policy excludes."""
        for round_id in round_ids:
            if self._policy.only_round in (None, round_id):
                self._due[round_id] = None
                self._wake.set()

    def _mark_unready(self) -> None:
        self._mark(list(self.discovery.unready))

    def _mark_later(self, round_id: int, seconds: float) -> None:
        """Queue a round after a delay. A later call for the same round replaces an earlier one."""
        if self._stopping.is_set():
            return
        old = self._timers.pop(round_id, None)
        if old is not None:
            old.cancel()
        self._timers[round_id] = asyncio.get_running_loop().call_later(seconds, self._ring, round_id)

    def _ring(self, round_id: int) -> None:
        self._timers.pop(round_id, None)
        self._mark([round_id])

    async def _follow_events(self) -> None:
        async for event in self._watch():
            if not isinstance(event, Disconnected):
                self.steps.chain.rpc.health.heard()
            if isinstance(event, Subscribed):
                self._watching = True
                self._subscribed.set()
            elif isinstance(event, Disconnected):
                self._watching = False
            else:
                if isinstance(event, ValidationCompleted):
                    self._ask(event.round_id)
                marked = self.discovery.on_event(event)
                self._mark(marked)
                for round_id in marked:
                    self._mark_later(round_id, _NODE_SECONDS)

    async def _poll(self) -> None:
        """Poll the chain periodically, and each time the WebSocket subscription starts.

        Polls never overlap, however long one takes.
        """
        while True:
            for _ in range(self._polls_while_watching):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._policy.poll_interval):
                        await self._subscribed.wait()
                if self._subscribed.is_set() or not self._watching:
                    break
            self._subscribed.clear()
            await self._try(self.discovery.catch_up, again=self._poll_seconds)

    async def _reconcile(self) -> None:
        while True:
            await asyncio.sleep(self._policy.reconcile_interval)
            await self._try(self.discovery.reconcile, again=self._policy.reconcile_interval)
            look_at_splits = partial(self.driver.sightings.look_at_splits, self.steps.chain)
            await self._try(look_at_splits, again=self._policy.reconcile_interval)

    async def _follow_upgrades(self) -> None:
        """Detect the program's revision at regular intervals (by default every hour).

        An upgrade that changes only the convention makes no instruction fail, so failures do not reveal every upgrade.
        """
        revisions = self.steps.revisions
        while revisions is not None:
            await asyncio.sleep(self._policy.reconcile_interval)
            await self._try(revisions.look, again=self._policy.reconcile_interval)

    @property
    def _poll_seconds(self) -> float:
        """The most seconds until the next poll."""
        return self._policy.poll_interval * (self._polls_while_watching if self._watching else 1)

    @property
    def _polls_while_watching(self) -> int:
        """How many times as long the interval of the polls is while the WebSocket works."""
        return max(1, min(_POLLS_WHILE_WATCHING, int(LONGEST_POLL_INTERVAL / self._policy.poll_interval)))

    async def _try(self, look: Callable[[], Awaitable[Iterable[int] | None]], *, again: float) -> None:
        """Look at the chain, and queue the rounds that the look returns, if any. Report a failure.

        Raises:
            JournalError: the journal cannot be written.
        """
        try:
            self._mark(await look() or ())
        except JournalError:
            raise
        except Exception as error:  # a failed look must not end the daemon
            if isinstance(error, RpcUnavailable):
                with contextlib.suppress(MachineShortage):  # the journal's disk is full; the next failure tries again
                    self.driver.lost_contact()
            known = reportable(error)
            if self._is_news(str(known)):
                if isinstance(known, InternalError):
                    logger.exception("Internal error during a look at the chain")
                self.steps.reporter.report(Trouble.then(None, known, f"Retrying in {again:g} s."))

    def _is_news(self, trouble: str) -> bool:
        """Return whether to report a failure: true if no similar failure occurred in the last `_NEWS_AGAIN` seconds.

        Failures are similar if their texts differ only in digits.
        """
        now, kind = self.steps.monotonic(), _DIGITS.sub("", trouble)
        self._told = {known: at for known, at in self._told.items() if now - at < _NEWS_AGAIN}
        is_news = kind not in self._told
        self._told[kind] = now
        return is_news


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    """Schedule a function in the event loop from any thread. Ignore the call if the loop is closed."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call)


async def cancel_all(tasks: Iterable[asyncio.Task[Any]], *, again_after: float) -> None:
    """Cancel tasks repeatedly until they have ended.

    One cancellation is not enough: before Python 3.12, `asyncio.wait_for` drops a cancellation that arrives together
    with the result.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=again_after)
