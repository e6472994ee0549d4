"""One round's turn: chosen or not, moved on as far as it will go, and what a failed step means."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from decloud_pl.chain.client import View
from decloud_pl.domain import RoundStatus
from decloud_pl.errors import (
    ContentNotFound,
    DecloudError,
    ExecutorUnavailable,
    InsufficientFunds,
    JournalError,
    ProgramError,
    RpcUnavailable,
    StoreError,
    StoreUnavailable,
    TrainingStopped,
    TransactionExpired,
    UntrustedFileRejected,
)
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.rounds.discover import Lookout, new_record
from decloud_pl.rounds.events import Looked, Trouble
from decloud_pl.rounds.life import Act, Finish, Wait, next_step
from decloud_pl.rounds.policy import Policy
from decloud_pl.rounds.select import WALLET_MINIMUM, prepared, select
from decloud_pl.rounds.steps import Steps

logger = logging.getLogger(__name__)

_WORTH_WAITING = (RpcUnavailable, StoreUnavailable, ContentNotFound, TransactionExpired, InsufficientFunds)
"""Failures of somebody else, or an empty wallet: they pass; tried again until the round's own deadline."""
_NO_ATTEMPT = (ExecutorUnavailable, TrainingStopped)
"""The training did not fail: there was no machine for it, or somebody stopped it. It keeps its slot and its tries."""
_NO_ATTEMPT_PAUSE = 15.0
_NEVER_GIVEN_UP = (State.SUBMITTED, State.CLAIMING)
_MAX_ATTEMPTS = 4
_LONGEST_BACK_OFF = 60.0
_LONGEST_WAIT = 3600.0
"""Seconds after which an endpoint is asked again, however long it asked to be left alone."""
_SHARE_TO_WAIT = 0.25
"""Of the time that is left to a deadline, when more than publishing lies ahead."""
_FAUCET_LAMPORTS = 1_000_000_000


class Attendant:
    """Does for a round what can be done now.

    Args:
        again: called with a round's id and the seconds after which it wants another look.
        ended: called with the row of a round that is over.
    """

    def __init__(
        self,
        steps: Steps,
        policy: Policy,
        lookout: Lookout,
        *,
        now: Callable[[], float],
        again: Callable[[int, float], None],
        ended: Callable[[RoundRecord], None],
    ) -> None:
        self._steps = steps
        self._policy = policy
        self._lookout = lookout
        self._now = now
        self._again = again
        self._on_end = ended
        self._joining = asyncio.Lock()
        self._taken: set[int] = set()
        # Of rounds at work, on this machine's clock; None where none is near.
        self._deadlines: dict[int, float | None] = {}
        self._compared: set[int] = set()
        self._given_up: set[int] = set()
        self.finishing: set[int] = set()
        """Rounds in a step that a stopping daemon lets come to its end."""
        self.stopping = False

    async def attend(self, round_id: int) -> None:
        """Chooses a new round or moves a known one on."""
        try:
            record = self._steps.journal.get(round_id)
            if record is None:
                record = await self._consider(round_id)
            else:
                self._lookout.forget(round_id)
            if record is None or record.state.is_final:
                return
            wait = record.next_try_at - self._now()
            if wait > 0:
                self._again(round_id, wait)
                return
            await self._advance(record)
        except JournalError:
            raise
        except DecloudError as error:
            self._after_failure(round_id, error)
        except Exception:  # one round's defect must not end the daemon or hurt another round
            logger.exception("Round %d met a defect in this program", round_id)
            self._after_failure(round_id, DecloudError("This program met a defect.", fix="Its log says where."))

    async def _consider(self, round_id: int) -> RoundRecord | None:
        """Joins the choice of a new round and the row that says so; None when it does not fit."""
        steps, policy = self._steps, self._policy
        async with self._joining:  # two rounds must not both take the last slot
            view = await steps.chain.view(round_id, steps.wallet.address)
            if view.round is None or self.stopping:
                self._lookout.forget(round_id)
                return None
            if view.submission is not None:
                resolved = self._lookout.resolved(view.round)
                return steps.keep(new_record(view.round, resolved, reason="joined by other means"))
            taken = self._taken | {record.round_id for record in steps.journal.unfinished()}
            if policy.stop_after is not None and len(taken) >= policy.stop_after:
                return None
            balance = await self._topped_up(view)
            situation = self._lookout.situation(view.round, now=view.now, balance=balance)
            decision = prepared(select(view.round, policy.criteria, situation, resolve=policy.resolve), policy.prepare)
            if not decision.accept:
                self._lookout.skip(view.round, decision)
                return None
            self._lookout.forget(round_id)
            self._taken.add(round_id)
            return steps.keep(new_record(view.round, decision.resolved_dataset, reason=decision.reason))

    async def _topped_up(self, view: View) -> int:
        """The wallet's lamports, with the faucet's where a test network has one and they are needed."""
        if not self._policy.faucet or view.balance >= self._policy.criteria.join_cost + WALLET_MINIMUM:
            return view.balance
        rpc, address = self._steps.chain.rpc, self._steps.wallet.address
        await rpc.request_airdrop(address, _FAUCET_LAMPORTS)
        return await rpc.balance(address)

    async def _advance(self, record: RoundRecord) -> None:
        steps = self._steps
        self._reconsider(record)
        while not record.state.is_final:
            view = await steps.chain.view(record.round_id, steps.wallet.address)
            deadline = _deadline(view)
            steps.reporter.report(Looked(record.round_id, deadline, view.now, view.balance))
            self._deadlines[record.round_id] = None if deadline is None else deadline - view.now + self._now()
            if self.stopping:
                return
            update = steps.update_on_disk(record.round_id)
            step = next_step(
                record,
                view.round,
                view.submission,
                now=view.now,
                update_on_disk=update is not None,
                withheld="" if update is None or self._policy.force else update.withheld,
            )
            if isinstance(step, Finish):
                record = steps.finish(record, step.state, step.reason)
                if step.state is State.UNREWARDED and (record.gain_low or 0) > 0:
                    steps.reporter.report(Trouble(record.round_id, f"Earned nothing: {step.reason}."))
                self._end(record)
                return
            if isinstance(step, Wait):
                record = steps.enter(record, step.state, step.reason)
                if step.state is State.WAITING and self._policy.auto_train:
                    await steps.fetch_base_model(record)  # the wait is time enough for the download
                if step.state is State.WITHHELD and self._policy.is_bounded and record.round_id not in self._given_up:
                    # Whoever waits for this round alone would wait for its deadline; a later run may still force it.
                    self._given_up.add(record.round_id)
                    self._end(record)
                return
            if not self._allowed(step):
                return
            record = await self._act(step, record, view)

    def _reconsider(self, record: RoundRecord) -> None:
        """Lets a withheld round train anew, once in this daemon's life, where the settings are others by now."""
        if record.state is not State.WITHHELD or record.round_id in self._compared or not self._policy.auto_train:
            return
        self._compared.add(record.round_id)
        if not self._policy.force and self._steps.is_planned_otherwise(record):
            self._steps.drop_withheld(record.round_id)

    def _allowed(self, step: Act) -> bool:
        if step.step == "train":
            return self._policy.auto_train
        if step.step == "claim":
            return self._policy.auto_claim
        return True

    async def _act(self, step: Act, record: RoundRecord, view: View) -> RoundRecord:
        steps, round_ = self._steps, view.round
        if round_ is None:
            return record
        if step.step == "train":
            return await steps.train(record, seconds_left=round_.submit_deadline - view.now)
        self.finishing.add(record.round_id)
        try:
            if step.step == "join":
                return await steps.join(record)
            if step.step == "publish":
                return await steps.publish(record)
            if step.step == "submit":
                return await steps.submit(record)
            if step.step == "check":
                return await steps.check(record, round_)
            bps = 0 if view.submission is None else view.submission.contribution_bps
            return await steps.claim(record, round_, bps)
        finally:
            self.finishing.discard(record.round_id)

    def _after_failure(self, round_id: int, error: DecloudError) -> None:
        """Notes a failed step: tried again with back-off, given up when trying again cannot help."""
        steps = self._steps
        record = steps.journal.get(round_id)
        if record is None or record.state.is_final:
            steps.reporter.report(Trouble(round_id, str(error)))
            return
        counts = not isinstance(error, _NO_ATTEMPT)
        attempts = record.attempts + counts
        # A finished update is kept until the round's deadline: the user may mend the storage meanwhile.
        publishing = record.state is State.PUBLISHING and isinstance(error, StoreError)
        patient = publishing or not counts or isinstance(error, _WORTH_WAITING)
        hopeless = isinstance(error, UntrustedFileRejected) or (attempts >= _MAX_ATTEMPTS and not patient)
        if hopeless and record.state not in _NEVER_GIVEN_UP:
            self._end(steps.finish(record, State.FAILED, str(error)))
            return
        wait = min(2.0 ** min(attempts, 16), _LONGEST_BACK_OFF) if counts else _NO_ATTEMPT_PAUSE
        if isinstance(error, (RpcUnavailable, StoreUnavailable)) and error.retry_after is not None:
            wait = max(wait, min(error.retry_after, self._left_to_try(record)))
        next_try_at = int(self._now() + wait)
        steps.keep(replace(record, attempts=attempts, reason=str(error), next_try_at=next_try_at))
        again = "Looking at the chain again" if isinstance(error, ProgramError) else "Trying again"
        steps.reporter.report(Trouble(round_id, f"{error} {again} in {wait:.0f} s."))
        self._again(round_id, wait)

    def _left_to_try(self, record: RoundRecord) -> float:
        """Seconds until a try that would still be in time for the round's deadline, however long a server is busy."""
        deadline = self._deadlines.get(record.round_id)
        if deadline is None:
            return _LONGEST_WAIT
        left = deadline - self._now()
        if record.state is State.PUBLISHING:
            return left - self._steps.publish_reserve()
        return left * _SHARE_TO_WAIT

    def _end(self, record: RoundRecord) -> None:
        self._deadlines.pop(record.round_id, None)
        self._taken.add(record.round_id)
        self._on_end(record)


def _deadline(view: View) -> int | None:
    """The round's deadline that comes next for a trainer."""
    if view.round is None:
        return None
    deadlines = {
        RoundStatus.WAITING_TRAINERS: view.round.join_deadline,
        RoundStatus.TRAINING: view.round.submit_deadline,
    }
    return deadlines.get(view.round.status)
