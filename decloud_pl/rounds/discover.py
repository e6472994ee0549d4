"""Find the rounds that the daemon must handle: from events, by polling, and by comparing the chain with the journal.

Events and polls give only the numbers of rounds. The daemon then decides about each round by its current state on
chain. So lost, repeated or late events do no harm.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from decloud_pl.chain.client import View
from decloud_pl.chain.events import (
    Event,
    GradientsSubmitted,
    RoundAborted,
    RoundCreated,
    TrainerJoined,
    ValidatorClaimed,
)
from decloud_pl.domain import Round, RoundStatus, Submission
from decloud_pl.errors import ChainError
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.rounds.events import Skipped, Trouble
from decloud_pl.rounds.joining import Joining
from decloud_pl.rounds.select import Decision
from decloud_pl.rounds.sightings import Sightings
from decloud_pl.rounds.steps import Steps

_IDLE = (State.SUBMITTED, State.OVERDUE)
"""States in which a round may wait for its validator without limit."""
_RIVAL = "Another machine or program is using this wallet"
_RIVAL_FIX = "Stop it, or use a separate wallet on each machine."


class Discovery:
    """Keeps a list of the open rounds that this wallet has not joined.

    `reconcile`, `catch_up` and `on_event` return the numbers of the rounds that the daemon must handle now.

    Args:
        steps: access to the chain, the journal and the reporter.
        joining: decides which rounds to join.
        sightings: stores how rounds end.
        on_abort: called by `on_event` with the number of an aborted round.
        has_step: returns whether a joined round has a step to do, from its row and a look at the chain.
    """

    def __init__(
        self,
        steps: Steps,
        joining: Joining,
        sightings: Sightings,
        on_abort: Callable[[int], None],
        has_step: Callable[[RoundRecord, View], bool],
    ) -> None:
        self._steps = steps
        self._sightings = sightings
        self._on_abort = on_abort
        self._has_step = has_step
        self._joining = joining
        # As last seen, without the rounds that can never fit.
        self._open: dict[int, Round] = {}
        self._known_rounds = 0
        self._skipped: dict[int, str] = {}
        # When a temporary reason against a join was first seen, on the monotonic clock.
        self._passing: dict[int, float] = {}
        self.unready: set[int] = set()
        """Rounds whose data set was missing at the last decision."""

    async def reconcile(self) -> list[int]:
        """Read all open rounds and this wallet's submission accounts, and compare them with the journal.

        Also look for the outcome of transactions that ended rounds have left behind. The daemon calls it at the start
        and every hour.
        """
        chain, journal = self._steps.chain, self._steps.journal
        submissions = await chain.submissions_of(self._steps.wallet.address)
        landed = {f"join:{entry.round_id}" for entry in submissions}  # an endpoint without history may not show them
        with suppress(ChainError):  # the costs stay too high until the next call
            await self._steps.sender.settle(key for key in journal.left_pending() if key not in landed)
        states = journal.states()
        now = await chain.rpc.clock()
        with self._sightings.look(now) as see:
            is_open, self._known_rounds = await chain.open_rounds(now, see)
        self._open = {round_.id: round_ for round_ in is_open if round_.id not in states}
        self._skipped = {round_id: why for round_id, why in self._skipped.items() if round_id in self._open}
        self._passing = {round_id: since for round_id, since in self._passing.items() if round_id in self._open}
        self.unready &= self._open.keys()
        await self._recognise([entry for entry in submissions if _is_news(entry, states.get(entry.round_id))])
        return [*await self._unfinished(), *await self._fitting()]

    async def catch_up(self) -> list[int]:
        """Read the new rounds, and read the known open rounds again."""
        known = dict(self._open)
        is_open, self._known_rounds = await self._steps.chain.open_rounds_again(known.values(), self._known_rounds)
        still_open = {round_.id: round_ for round_ in is_open if self._steps.journal.get(round_.id) is None}
        for round_id in known.keys() - still_open.keys():
            self.forget(round_id)
        self._open.update(still_open)
        return [*await self._unfinished(), *await self._fitting()]

    def on_event(self, event: Event) -> list[int]:
        """Return a list with the round number of an event, or an empty list if the event cannot concern this wallet.

        The running time does not depend on the number of rounds.
        """
        self._sightings.on_event(event)
        if isinstance(event, RoundAborted):
            self._on_abort(event.round_id)
        rival = self._is_of_a_rival(event)
        if rival or isinstance(event, (RoundCreated, ValidatorClaimed)) or event.round_id in self._open:
            return [event.round_id]
        record = self._steps.journal.get(event.round_id)
        return [] if record is None or record.state.is_final else [event.round_id]

    def skip(self, round_: Round, decision: Decision) -> None:
        """Remember why a round is not joined, and report each reason once."""
        is_reported = not decision.passing or self._lasts(round_.id)
        if is_reported and self._skipped.get(round_.id) != decision.reason:
            self._steps.reporter.report(Skipped(round_.id, decision.reason))
        if decision.settled:
            self.forget(round_.id)
        else:
            self._open[round_.id] = round_
            (self.unready.add if decision.unready else self.unready.discard)(round_.id)
        if is_reported:  # also if settled: an event may name the round again
            self._skipped[round_.id] = decision.reason

    def forget(self, round_id: int) -> None:
        """Remove a round from the open rounds."""
        self._open.pop(round_id, None)
        self._skipped.pop(round_id, None)
        self._passing.pop(round_id, None)
        self.unready.discard(round_id)

    def _lasts(self, round_id: int) -> bool:
        """Return whether a temporary reason against joining a round has lasted for the policy's ``patience``."""
        now, policy = self._steps.monotonic(), self._joining.policy
        # A user who waits for one round wants to see the reason at once.
        patience = policy.patience if policy.only_round is None else 0.0
        return now - self._passing.setdefault(round_id, now) >= patience

    async def _unfinished(self) -> list[int]:
        """Return the joined rounds that may have a step to do now.

        If a validator abandons rounds, their number grows without limit, so a look must not cost a request per round.
        """
        steps = self._steps
        idle = [record.round_id for record in steps.journal.unfinished() if record.state in _IDLE]
        views = await steps.chain.views(idle, steps.wallet.address) if idle else {}
        found: list[int] = []
        for record in steps.journal.unfinished():  # an event may have moved a round on in the meantime
            view = views.get(record.round_id)
            if view is None or record.state not in _IDLE or self._has_step(record, view):
                found.append(record.round_id)
        return found

    async def _fitting(self) -> list[int]:
        """Return the open rounds that this wallet should join, as they were last seen. Call `skip` for the others."""
        if not self._open:
            return []
        now, balance = await self._steps.chain.now_and_balance(self._steps.wallet.address)
        fitting: list[int] = []
        rounds = list(self._open.values())
        for round_, decision in zip(rounds, self._joining.decide_all(rounds, now=now, balance=balance), strict=True):
            if decision.accept:
                fitting.append(round_.id)
            else:
                self.skip(round_, decision)
        return fitting

    async def _recognise(self, submissions: list[Submission]) -> None:
        """Add rounds joined outside this daemon to the journal. Reopen ended rounds that have an unclaimed reward."""
        steps = self._steps
        rounds = await steps.chain.rounds_by_id([entry.round_id for entry in submissions])
        for entry in submissions:
            round_ = rounds.get(entry.round_id)
            if round_ is None or round_.status in (RoundStatus.EXPIRED, RoundStatus.CANCELLED):
                continue
            if round_.status is RoundStatus.COMPLETED and entry.contribution_bps == 0:
                continue
            known = steps.journal.get(entry.round_id)
            if known is None:
                steps.keep(self._joining.record_of_joined(round_))
            elif known.state.is_final and round_.status is RoundStatus.COMPLETED:
                steps.keep(replace(known, state=State.SUBMITTED, reason="its reward is not claimed yet", attempts=0))

    def _is_of_a_rival(self, event: Event) -> bool:
        """Return whether an event shows that another daemon or program used this wallet. If so, report it."""
        steps = self._steps
        if not isinstance(event, (TrainerJoined, GradientsSubmitted)) or event.trainer != steps.wallet.address:
            return False
        if isinstance(event, TrainerJoined):
            ours = bool(steps.attempts(f"join:{event.round_id}"))
            what = f"it joined round {event.round_id}"
        else:
            record = steps.journal.get(event.round_id)
            ours = record is not None and record.pinned_cid == event.gradient_cid
            what = f"it submitted {event.gradient_cid} to round {event.round_id}"
        if not ours:
            steps.reporter.report(Trouble(event.round_id, f"{_RIVAL}: {what}. {_RIVAL_FIX}"))
        return not ours


def _is_news(submission: Submission, state: State | None) -> bool:
    """Return whether the journal may need a change because of a submission of this wallet.

    The change is a new row, or the reopening of an ended round. ``state`` is the state in the journal's row of the
    round; None if the journal has no such row.
    """
    if submission.reward_claimed:
        return False
    return state is None or (state.is_final and submission.contribution_bps > 0)
