"""One round's turn: look at it, decide, do the next step, until the chain has to move."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from decloud_pl.chain.client import View
from decloud_pl.domain import Round, RoundStatus, format_sol
from decloud_pl.errors import (
    ChainError,
    ContentNotFound,
    DecloudError,
    ExecutorUnavailable,
    InsufficientFunds,
    JournalError,
    MachineShortage,
    ProgramError,
    RoundError,
    RpcUnavailable,
    StoreError,
    StoreUnavailable,
    TrainingStopped,
    TransactionExpired,
    UntrustedFileRejected,
)
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.retry import LONGEST_RETRY_AFTER, Backoff
from decloud_pl.rounds.discover import Discovery
from decloud_pl.rounds.events import Looked, Noted, Trouble
from decloud_pl.rounds.joining import Joining
from decloud_pl.rounds.life import Act, Finish, Wait, next_step
from decloud_pl.rounds.policy import Policy
from decloud_pl.rounds.revisions import is_of_layout
from decloud_pl.rounds.select import WALLET_MINIMUM
from decloud_pl.rounds.steps import Steps
from decloud_pl.shortage import shortage

logger = logging.getLogger(__name__)

_PASSING = (RpcUnavailable, StoreUnavailable, ContentNotFound, TransactionExpired, InsufficientFunds)
"""Failures of somebody else, or an empty wallet: retried until the round's own deadline."""
_NO_ATTEMPT = (ExecutorUnavailable, TrainingStopped, MachineShortage)
"""The round did not fail: no machine had room for it, or somebody stopped it. It keeps its slot and its attempts."""
_NO_ATTEMPT_PAUSE = 15.0
_NEVER_GIVEN_UP = (State.SUBMITTED, State.CLAIMING)
_MAX_ATTEMPTS = 4
_LOOK_AGAIN = 60.0
"""Seconds until a round that is not joined is looked at again, after that has failed."""
_BACKOFF = Backoff(2.0, 60.0)
_SHARE_TO_WAIT = 0.25
"""Of the time until a deadline, when more than publishing lies ahead."""
_FAUCET_LAMPORTS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Again:
    """The round wants another turn after so many seconds, even when nothing changes on chain."""

    seconds: float


class Driver:
    """Drives rounds, each by itself.

    Args:
        steps: the effects.
        policy: the user's wishes.
        now: Unix seconds of this machine.

    Attributes:
        discovery: where rounds come from.
        ended: the rows of rounds that ended in this run, in order.
        finishing: rounds in a step that must come to its end before the daemon stops.
        stopping: set to begin nothing new.
    """

    def __init__(self, steps: Steps, policy: Policy, *, now: Callable[[], float] = time.time) -> None:
        self._steps = steps
        self._policy = policy
        self._now = now
        self._joining = Joining(policy, steps.journal, steps.base_models)
        self._one_at_a_time = asyncio.Lock()
        self._compared: set[int] = set()
        self._left: set[tuple[int, str]] = set()
        # Of rounds at work, on this machine's clock; None where none is near.
        self._deadlines: dict[int, float | None] = {}
        # Those that the program said so of in this run, and the trainings that end when it does.
        self._aborted: set[int] = set()
        self._trainings: dict[int, asyncio.Timeout] = {}
        self.discovery = Discovery(steps, self._joining, self._on_abort)
        self.ended: list[RoundRecord] = []
        self.finishing: set[int] = set()
        self.stopping = False

    @property
    def training(self) -> list[int]:
        """The rounds that train."""
        return list(self._trainings)

    def deadline(self, round_id: int) -> float | None:
        """The deadline that comes next for a round, in Unix seconds of this machine; None where none is known."""
        return self._deadlines.get(round_id)

    async def reopen(self, round_id: int) -> bool:
        """Takes a round up again that has ended for this wallet, where the chain leaves something to do.

        Returns:
            Whether there is something to do; if not, `ended` holds why.

        Raises:
            ChainError: the chain cannot be asked.
        """
        record = self._steps.journal.get(round_id)
        if record is None or not record.state.is_final:
            return True
        if record.state is not State.ABORTED:  # which the chain does not show in every revision
            view = await self._look(round_id)
            decided = self._decide(record, view)
            if not isinstance(decided, Finish):
                self._steps.reopen(record, State.SEEN if view.submission is None else State.WAITING)
                return True
            record = replace(record, state=decided.state, reason=decided.reason)
        why = ", ".join(filter(None, (record.state.value, record.reason.rstrip("."))))
        self._steps.reporter.report(Noted(round_id, f"It is over for this wallet: {why}."))
        self.ended.append(record)
        return False

    async def drive(self, round_id: int) -> Again | None:
        """Takes a round as far as it goes now.

        Raises:
            JournalError: the journal cannot be written. Nothing else: any other failure is the round's own.
        """
        try:
            record = self._steps.journal.get(round_id)
            if record is None:
                record = await self._choose(round_id)
            else:
                self.discovery.forget(round_id)
            if record is None or record.state.is_final:
                return None
            if record.next_try_at > self._now():
                return Again(record.next_try_at - self._now())
            self._reconsider(record)
            while True:
                view = await self._look(round_id)
                if self.stopping:
                    return None
                match self._decide(record, view):
                    case Finish(state, reason):
                        self._end(self._steps.finish(record, state, reason))
                        return None
                    case Wait(state, reason):
                        await self._wait(self._steps.enter(record, state, reason))
                        return None
                    case Act("train") if not self._policy.auto_train:
                        self._leave("train", record, view)
                        return None
                    case Act("claim") if not self._policy.auto_claim:
                        self._leave("claim", record, view)
                        return None
                    case Act(step):
                        record = await self._do(step, record, view)
        except JournalError:
            raise
        except ProgramError as error:
            if is_of_layout(error):
                await self._follow_upgrade()
            return self.failed(round_id, error)
        except Exception as error:  # one round's defect must not end the daemon or hurt another round
            known = shortage(error, places=(self._steps.rounds_folder, Path(tempfile.gettempdir()))) or error
            if isinstance(known, DecloudError):
                return self.failed(round_id, known)
            logger.exception("Round %d met a defect in this program", round_id)
            return self.failed(round_id, DecloudError("This program met a defect.", fix="Its log says where."))

    async def _follow_upgrade(self) -> None:
        """Finds out what runs, after the program refused the form of an instruction."""
        if self._steps.revisions is not None:
            with contextlib.suppress(ChainError):
                await self._steps.revisions.look()

    async def _choose(self, round_id: int) -> RoundRecord | None:
        """Decides whether to join a new round: its first row, or None where it does not fit.

        A base model is looked at first, and meanwhile other rounds are decided about.
        """
        while True:
            chosen = await self._choose_now(round_id)
            if not isinstance(chosen, Round):
                return chosen
            if self._steps.base_models is not None:
                await self._steps.base_models.look(chosen.model_cid)

    async def _choose_now(self, round_id: int) -> RoundRecord | Round | None:
        """As `_choose`; the round itself where its base model is to be looked at first."""
        steps, policy = self._steps, self._policy
        async with self._one_at_a_time:  # two rounds must not both take the last slot
            view = await steps.chain.view(round_id, steps.wallet.address)
            if view.round is None or round_id in self._aborted or self.stopping:
                self.discovery.forget(round_id)
                return None
            if view.submission is not None:
                return steps.keep(self._joining.record(view.round, "joined by other means"))
            taken = {record.round_id for record in [*self.ended, *steps.journal.unfinished()]}
            if policy.stop_after is not None and len(taken) >= policy.stop_after:
                return None
            decision = self._joining.decide(view.round, now=view.now, balance=view.balance)
            if not decision.accept:
                self.discovery.skip(view.round, decision)
                return None
            if steps.base_models is not None and steps.base_models.wants_look(view.round, now=view.now):
                return view.round
            if policy.faucet and view.balance < policy.criteria.join_cost + WALLET_MINIMUM:
                await steps.chain.rpc.request_airdrop(steps.wallet.address, _FAUCET_LAMPORTS)
            self.discovery.forget(round_id)
            return steps.keep(self._joining.record(view.round, decision.reason))

    async def _look(self, round_id: int) -> View:
        view = await self._steps.chain.view(round_id, self._steps.wallet.address)
        deadline = None if view.round is None else next_deadline(view.round)
        self._steps.reporter.report(Looked(round_id, deadline, view.now, view.balance))
        self._deadlines[round_id] = None if deadline is None else deadline - view.now + self._now()
        return view

    def _decide(self, record: RoundRecord, view: View) -> Act | Wait | Finish:
        update = self._steps.update_on_disk(record.round_id)
        return next_step(
            record,
            view.round,
            view.submission,
            now=view.now,
            update_on_disk=update is not None,
            withheld="" if update is None or self._policy.force else update.withheld,
            aborted=record.round_id in self._aborted,
        )

    async def _do(self, step: str, record: RoundRecord, view: View) -> RoundRecord:
        steps, round_ = self._steps, view.round
        if round_ is None:
            raise RoundError(f"The chain knows no round {record.round_id}.")
        if step == "train":
            if steps.revisions is not None and not steps.revisions.is_decided:
                await self._follow_upgrade()  # what the public validator is meant to compute depends on it
            validator = None if round_.validator is None else str(round_.validator)
            record = replace(record, validator=validator)
            return await self._train(record, seconds_left=round_.submit_deadline - view.now)
        self.finishing.add(record.round_id)
        try:
            match step:
                case "join":
                    return await steps.join(record)
                case "publish":
                    return await steps.publish(record)
                case "submit":
                    return await steps.submit(record)
                case "check":
                    return await steps.check(record, round_)
            return await steps.claim(record, round_, 0 if view.submission is None else view.submission.contribution_bps)
        finally:
            self.finishing.discard(record.round_id)

    async def _train(self, record: RoundRecord, *, seconds_left: int) -> RoundRecord:
        """Trains until the round is aborted; the row is then as the training left it."""
        try:
            async with asyncio.timeout(None) as training:
                self._trainings[record.round_id] = training
                try:
                    return await self._steps.train(record, seconds_left=seconds_left)
                finally:
                    del self._trainings[record.round_id]
        except TimeoutError:
            if not training.expired():
                raise
            return self._steps.journal.get(record.round_id) or record

    def _on_abort(self, round_id: int) -> None:
        self._aborted.add(round_id)
        training = self._trainings.get(round_id)
        if training is not None:
            training.reschedule(asyncio.get_running_loop().time())

    async def _wait(self, record: RoundRecord) -> None:
        """Uses the time until the chain moves."""
        if record.state is State.WAITING and self._policy.auto_train:
            await self._steps.fetch_base_model(record)
        ended = {record.round_id for record in self.ended}
        if record.state is State.WITHHELD and self._policy.is_bounded and record.round_id not in ended:
            # A run for this round alone would wait for its deadline; a later run may still force it.
            self._end(record)

    def _leave(self, step: str, record: RoundRecord, view: View) -> None:
        """Says, once in a run, that a step is left to the user; with a claim a run for this round alone is over."""
        round_, place = view.round, view.submission
        if (record.round_id, step) in self._left or round_ is None or place is None:
            return
        self._left.add((record.round_id, step))
        if step == "train":
            what = f"The training has started; its deadline is in {(round_.submit_deadline - view.now) // 60} min"
        else:
            what = f"Scored: {format_sol(round_.reward_of(place.contribution_bps))} wait"
        how = f"`decloud-trainer {step} {record.round_id}` does it once this daemon is stopped"
        self._steps.reporter.report(Noted(record.round_id, f"{what}. auto_{step} is off: {how}."))
        if step == "claim" and self._policy.is_bounded:
            self._end(record)

    def _reconsider(self, record: RoundRecord) -> None:
        """Lets a withheld round train again where its validator, or once in a run the settings, now ask for another."""
        if record.state is not State.WITHHELD or self._policy.force or not self._policy.auto_train:
            return
        changed = self._steps.is_read_otherwise(record)
        if record.round_id not in self._compared:
            self._compared.add(record.round_id)
            changed = changed or self._steps.is_planned_otherwise(record)
        if changed:
            self._steps.drop_withheld(record.round_id)

    def failed(self, round_id: int, error: DecloudError) -> Again | None:
        """Notes a failed step: retried with back-off, given up when a retry cannot help."""
        steps = self._steps
        record = steps.journal.get(round_id)
        if record is None:
            then = f"Looking at the round again in {_LOOK_AGAIN:.0f} s."
            steps.reporter.report(Trouble.then(round_id, error, then))
            return Again(_LOOK_AGAIN)
        if record.state.is_final:
            steps.reporter.report(Trouble(round_id, str(error)))
            return None
        counts = not isinstance(error, _NO_ATTEMPT)
        attempts = record.attempts + counts
        # A finished update is kept until the round's deadline: the user may mend the storage meanwhile.
        publishing = record.state is State.PUBLISHING and isinstance(error, StoreError)
        passing = publishing or not counts or isinstance(error, _PASSING)
        hopeless = isinstance(error, UntrustedFileRejected) or (attempts >= _MAX_ATTEMPTS and not passing)
        never_given_up = record.state in _NEVER_GIVEN_UP
        if hopeless and not never_given_up:
            self._end(steps.finish(record, State.FAILED, str(error)))
            return None
        wait = _BACKOFF.after(attempts) if counts else _NO_ATTEMPT_PAUSE
        deadline = self._deadlines.get(round_id)
        if deadline is not None:  # a retry after it would be none
            wait = min(wait, max(_BACKOFF.first, (deadline - self._now()) / 2))
        if isinstance(error, (RpcUnavailable, StoreUnavailable)) and error.retry_after is not None:
            wait = max(wait, min(error.retry_after, self._left_to_retry(record)))
        next_try_at = int(self._now() + wait)
        steps.keep(replace(record, attempts=attempts, reason=str(error), next_try_at=next_try_at))
        again = "Looking at the chain again" if isinstance(error, ProgramError) else "Retrying"
        most = "" if passing or never_given_up else f" (attempt {attempts + 1} of {_MAX_ATTEMPTS})"
        steps.reporter.report(Trouble.then(round_id, error, f"{again} in {wait:.0f} s{most}."))
        return Again(wait)

    def _left_to_retry(self, record: RoundRecord) -> float:
        """Seconds until a retry that is still in time for the round's deadline, however long a server is busy."""
        deadline = self._deadlines.get(record.round_id)
        if deadline is None:
            return LONGEST_RETRY_AFTER
        left = deadline - self._now()
        return left - self._steps.publish_reserve() if record.state is State.PUBLISHING else left * _SHARE_TO_WAIT

    def _end(self, record: RoundRecord) -> None:
        if record.state is State.UNREWARDED and (record.gain_low or 0) > 0:
            self._steps.reporter.report(Trouble(record.round_id, f"Earned nothing: {record.reason}."))
        self._deadlines.pop(record.round_id, None)
        self.ended.append(record)


def next_deadline(round_: Round) -> int | None:
    """The deadline that comes next for a trainer, in Unix seconds of the chain's clock."""
    if round_.status is RoundStatus.WAITING_TRAINERS:
        return round_.join_deadline
    return round_.submit_deadline if round_.status is RoundStatus.TRAINING else None
