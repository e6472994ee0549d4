"""The daemon's loop: which round to look at when, and what to do when a step fails.

Events from the chain and a slow poll both only mark a round as worth a look; what to do is decided from the
chain's present state (`life.next_step`), so lost, doubled or late events change nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

from decloud_pl.chain.dialects.v1.events import Event
from decloud_pl.chain.watch import Connected as WatchConnected
from decloud_pl.daemon.events import Connected, Skipped, Trouble
from decloud_pl.daemon.life import Act, Finish, Wait, next_step
from decloud_pl.daemon.record import RoundRecord, State
from decloud_pl.daemon.select import JOIN_COST, Criteria, select
from decloud_pl.daemon.steps import Steps
from decloud_pl.domain import Round, RoundStatus, Submission
from decloud_pl.errors import (
    ContentNotFound,
    DecloudError,
    JournalError,
    ProgramError,
    RpcUnavailable,
    StoreUnavailable,
    TransactionExpired,
    UntrustedFileRejected,
)

logger = logging.getLogger(__name__)

_WORTH_WAITING = (RpcUnavailable, StoreUnavailable, ContentNotFound, TransactionExpired)
"""Failures of somebody else that pass; tried again until the round's own deadline."""
_MAX_ATTEMPTS = 4
_LONGEST_BACK_OFF = 60.0
_FAUCET_LAMPORTS = 1_000_000_000

Watch = Callable[[], AsyncIterator[Event | WatchConnected]]


@dataclass(frozen=True)
class Policy:
    """What the user lets the daemon do.

    ``only_round`` restricts it to one round; after ``stop_after`` rounds have ended it stops, and it never
    joins more than that many.
    """

    criteria: Criteria
    resolve: Callable[[str], str]
    auto_train: bool = True
    auto_claim: bool = True
    poll_interval: float = 5.0
    only_round: int | None = None
    stop_after: int | None = None
    faucet: bool = False
    prepare: Callable[[str], None] = lambda _: None


class Daemon:
    """Runs until `stop` is called or ``policy.stop_after`` rounds have ended."""

    def __init__(self, steps: Steps, policy: Policy, watch: Watch, *, now: Callable[[], float] = time.time) -> None:
        self._steps = steps
        self._now = now
        self._policy = policy
        self._watch = watch
        self._stopping = asyncio.Event()
        self._due: dict[int, None] = {}
        self._wake = asyncio.Event()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        # Open rounds that this wallet has not joined, as last seen; those that can never fit are left out.
        self._open: dict[int, Round] = {}
        self._known_rounds = 0
        self._skipped: dict[int, str] = {}
        self._joining = asyncio.Lock()
        self._ended: list[RoundRecord] = []
        self._taken: set[int] = set()
        self._failure: BaseException | None = None

    @property
    def ended(self) -> list[RoundRecord]:
        """Rounds that ended in this run, in order."""
        return list(self._ended)

    def stop(self) -> None:
        """Asks for a clean stop: trainings are ended, everything on disk stays for the next start."""
        self._stopping.set()
        self._wake.set()

    async def run(self) -> None:
        """Works until stopped.

        Raises:
            ChainError: the endpoint is not there at the start, or is not a DECLOUD network.
            JournalError: the journal cannot be written; going on would risk doing things twice.
        """
        steps = self._steps
        balance = await steps.chain.rpc.balance(steps.wallet.address)
        steps.reporter.report(Connected(str(steps.wallet.address), balance))
        await self._look_at_everything()
        lookouts = [asyncio.create_task(self._follow_events()), asyncio.create_task(self._poll())]
        for task in lookouts:
            task.add_done_callback(self._give_up_on_failure)
        try:
            await self._serve()
        finally:
            running = [*lookouts, *self._tasks.values()]
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        if self._failure is not None:
            raise self._failure

    async def _serve(self) -> None:
        while not self._stopping.is_set():
            await self._wake.wait()
            self._wake.clear()
            for round_id in [due for due in self._due if due not in self._tasks]:
                del self._due[round_id]
                task = asyncio.create_task(self._attend(round_id))
                self._tasks[round_id] = task
                task.add_done_callback(partial(self._done, round_id))

    def _done(self, round_id: int, task: asyncio.Task[None]) -> None:
        del self._tasks[round_id]
        self._wake.set()
        self._give_up_on_failure(task)

    def _give_up_on_failure(self, task: asyncio.Task[None]) -> None:
        """Ends the daemon on what no task may survive: a journal that cannot be written, a defect."""
        if not task.cancelled() and task.exception() is not None:
            self._failure = task.exception()
            self.stop()

    def _mark(self, round_id: int) -> None:
        if self._policy.only_round in (None, round_id):
            self._due[round_id] = None
            self._wake.set()

    async def _look_at_everything(self) -> None:
        """Marks every open round and every unfinished row; at the start and after a lost connection."""
        steps = self._steps
        counter = await steps.chain.counter()
        self._known_rounds = 0 if counter is None else counter.count
        for round_ in await steps.chain.rounds():
            if round_.status in (RoundStatus.WAITING_VALIDATOR, RoundStatus.WAITING_TRAINERS):
                self._open[round_.id] = round_
                self._mark(round_.id)
        for submission in await steps.chain.submissions_of(steps.wallet.address):
            await self._recognise(submission)
        for record in steps.journal.unfinished():
            self._mark(record.round_id)

    async def _recognise(self, submission: Submission) -> None:
        """Takes a round into the journal that this wallet joined by other means or on another machine."""
        steps = self._steps
        if steps.journal.get(submission.round_id) is not None or submission.reward_claimed:
            return
        round_ = await steps.chain.round(submission.round_id)
        if round_ is None or round_.status in (RoundStatus.EXPIRED, RoundStatus.CANCELLED):
            return
        if round_.status is RoundStatus.COMPLETED and submission.contribution_bps == 0:
            return
        try:
            resolved = self._policy.resolve(round_.dataset)
        except DecloudError:
            resolved = round_.dataset  # a claim needs no data set; a training will say what is missing
        steps.keep(_new_record(round_, resolved))

    async def _follow_events(self) -> None:
        async for event in self._watch():
            if isinstance(event, WatchConnected):
                await self._try(self._look_at_everything)
            else:
                self._mark(event.round_id)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._policy.poll_interval)
            await self._try(self._poll_once)

    async def _try(self, look: Callable[[], Awaitable[None]]) -> None:
        try:
            await look()
        except JournalError:
            raise
        except DecloudError as error:
            self._steps.reporter.report(Trouble(None, f"{error} Trying again."))

    async def _poll_once(self) -> None:
        chain = self._steps.chain
        counter = await chain.counter()
        count = 0 if counter is None else counter.count
        fresh = range(self._known_rounds, count)
        for round_id, round_ in (await chain.rounds_by_id([*self._open, *fresh])).items():
            if self._open.get(round_id) != round_:
                self._mark(round_id)
        self._known_rounds = count
        for record in self._steps.journal.unfinished():
            self._mark(record.round_id)
        # A free slot or a topped-up wallet changes the answer for rounds that did not fit before.
        for round_id in self._open:
            self._mark(round_id)

    async def _attend(self, round_id: int) -> None:
        """Does for one round what can be done now."""
        record = self._steps.journal.get(round_id)
        try:
            if record is None:
                record = await self._consider(round_id)
            if record is not None and not record.state.is_final and record.next_try_at <= self._now():
                await self._advance(record)
        except JournalError:
            raise
        except DecloudError as error:
            await self._after_failure(round_id, error)
        except Exception:  # one round's defect must not end the daemon or hurt another round
            logger.exception("Round %d met a defect in this program", round_id)
            await self._after_failure(round_id, DecloudError("This program met a defect.", fix="Its log says where."))

    async def _consider(self, round_id: int) -> RoundRecord | None:
        """Joins the choice of a new round and the row that says so; None when it does not fit."""
        steps, policy = self._steps, self._policy
        async with self._joining:  # two rounds must not both take the last slot
            round_ = await steps.chain.round(round_id)
            if round_ is None:
                self._open.pop(round_id, None)
                return None
            unfinished = steps.journal.unfinished()
            taken = self._taken | {record.round_id for record in unfinished}
            if policy.stop_after is not None and len(taken) >= policy.stop_after:
                return None
            decision = select(
                round_,
                policy.criteria,
                resolve=policy.resolve,
                prepare=policy.prepare,
                now=await steps.chain.rpc.clock(),
                balance=await self._balance(),
                occupied_slots=sum(record.state.occupies_slot for record in unfinished),
            )
            if not decision.accept:
                self._skip(round_, decision.reason, settled=decision.settled)
                return None
            self._open.pop(round_id, None)
            self._taken.add(round_id)
            return steps.keep(_new_record(round_, decision.resolved_dataset))

    def _skip(self, round_: Round, reason: str, *, settled: bool) -> None:
        if settled:
            self._open.pop(round_.id, None)
        else:
            self._open[round_.id] = round_
        if self._skipped.get(round_.id) != reason:
            self._skipped[round_.id] = reason
            self._steps.reporter.report(Skipped(round_.id, reason))
        if settled:
            self._skipped.pop(round_.id, None)

    async def _balance(self) -> int:
        rpc, address = self._steps.chain.rpc, self._steps.wallet.address
        balance = await rpc.balance(address)
        if balance < JOIN_COST and self._policy.faucet:
            await rpc.request_airdrop(address, _FAUCET_LAMPORTS)
            balance = await rpc.balance(address)
        return balance

    async def _advance(self, record: RoundRecord) -> None:
        steps = self._steps
        while not record.state.is_final:
            round_ = await steps.chain.round(record.round_id)
            submission = await steps.chain.submission(record.round_id, steps.wallet.address)
            now = await steps.chain.rpc.clock()
            update = steps.update_on_disk(record.round_id)
            step = next_step(record, round_, submission, now=now, update_on_disk=update is not None)
            if isinstance(step, Finish):
                record = steps.finish(record, step.state, step.reason)
                self._end(record)
                return
            if isinstance(step, Wait):
                record = steps.enter(record, step.state, step.reason)
                if step.state is State.WAITING and self._policy.auto_train:
                    await steps.fetch_base_model(record)  # the wait is time enough for the download
                return
            if not self._allowed(step):
                return
            record = await self._act(step, record, round_, submission)

    def _allowed(self, step: Act) -> bool:
        if step.step == "train":
            return self._policy.auto_train
        if step.step == "claim":
            return self._policy.auto_claim
        return True

    async def _act(
        self, step: Act, record: RoundRecord, round_: Round | None, submission: Submission | None
    ) -> RoundRecord:
        steps = self._steps
        if step.step == "join":
            return await steps.join(record)
        if step.step == "train":
            return await steps.train(record)
        if step.step == "publish":
            return await steps.publish(record)
        if step.step == "submit":
            return await steps.submit(record)
        if round_ is None or submission is None:
            return record
        return await steps.claim(record, round_, submission.contribution_bps)

    async def _after_failure(self, round_id: int, error: DecloudError) -> None:
        """Notes a failed step: tried again with back-off, given up when trying again cannot help."""
        steps = self._steps
        record = steps.journal.get(round_id)
        if record is None or record.state.is_final:
            steps.reporter.report(Trouble(round_id, str(error)))
            return
        attempts = record.attempts + 1
        hopeless = isinstance(error, UntrustedFileRejected) or (
            attempts >= _MAX_ATTEMPTS and not isinstance(error, _WORTH_WAITING)
        )
        if hopeless and record.state is not State.CLAIMING:
            self._end(steps.finish(record, State.FAILED, str(error)))
            return
        wait = min(2.0**attempts, _LONGEST_BACK_OFF)
        if isinstance(error, (RpcUnavailable, StoreUnavailable)) and error.retry_after is not None:
            wait = max(wait, error.retry_after)
        next_try_at = int(self._now() + wait)
        steps.keep(replace(record, attempts=attempts, reason=str(error), next_try_at=next_try_at))
        again = "Looking at the chain again" if isinstance(error, ProgramError) else "Trying again"
        steps.reporter.report(Trouble(round_id, f"{error} {again} in {wait:.0f} s."))
        asyncio.get_running_loop().call_later(wait, self._mark, round_id)

    def _end(self, record: RoundRecord) -> None:
        self._ended.append(record)
        self._taken.add(record.round_id)
        limit = self._policy.stop_after
        if self._policy.only_round is not None or (limit is not None and len(self._ended) >= limit):
            self.stop()


def _new_record(round_: Round, resolved: str) -> RoundRecord:
    return RoundRecord(
        round_id=round_.id,
        state=State.JOINING,
        dataset=round_.dataset,
        resolved_dataset=resolved,
        model_cid=round_.model_cid,
        reward_amount=round_.reward_amount,
    )
