"""Which rounds deserve a look: from the chain's events, from polling, and from a comparison of everything.

Events and polls only name rounds. What to do is decided from the chain's present state, so lost, repeated or late
events change nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from decloud_pl.chain.events import (
    Event,
    GradientsSubmitted,
    RoundAborted,
    RoundCreated,
    TrainerJoined,
    ValidatorClaimed,
)
from decloud_pl.domain import Round, RoundStatus, Submission
from decloud_pl.journal.record import State
from decloud_pl.rounds.events import Skipped, Trouble
from decloud_pl.rounds.joining import Joining
from decloud_pl.rounds.select import Decision
from decloud_pl.rounds.steps import Steps

_RIVAL = "Another machine or program acts for this wallet"
_RIVAL_FIX = "Stop it, or give each machine a wallet of its own."


class Discovery:
    """Keeps the open rounds that this wallet has not joined. Each look returns the rounds that need attention.

    Args:
        steps: the effects.
        joining: decides about rounds.
        on_abort: is told of each round whose validator aborted it, before it gets attention.
    """

    def __init__(self, steps: Steps, joining: Joining, on_abort: Callable[[int], None]) -> None:
        self._steps = steps
        self._on_abort = on_abort
        self._joining = joining
        # As last seen; those that can never fit are left out.
        self._open: dict[int, Round] = {}
        self._known_rounds = 0
        self._skipped: dict[int, str] = {}
        # When a reason that passes by itself was first seen, by the steps' clock.
        self._passing: dict[int, float] = {}
        self.unready: set[int] = set()
        """Rounds whose data set was missing when they were last looked at."""

    async def reconcile(self) -> list[int]:
        """Compares what is open on chain, and this wallet's places, with the journal; at the start and every hour."""
        chain, journal = self._steps.chain, self._steps.journal
        submissions = await chain.submissions_of(self._steps.wallet.address)
        states = journal.states()
        is_open, self._known_rounds = await chain.open_rounds(await chain.rpc.clock())
        self._open = {round_.id: round_ for round_ in is_open if round_.id not in states}
        self._skipped = {round_id: why for round_id, why in self._skipped.items() if round_id in self._open}
        self._passing = {round_id: since for round_id, since in self._passing.items() if round_id in self._open}
        self.unready &= self._open.keys()
        await self._recognise([entry for entry in submissions if _is_news(entry, states.get(entry.round_id))])
        return [*self._unfinished(), *await self._fitting()]

    async def catch_up(self) -> list[int]:
        """Reads what may have changed since the last look: new rounds, open ones, this wallet's own."""
        known = dict(self._open)
        is_open, self._known_rounds = await self._steps.chain.open_rounds_again(known.values(), self._known_rounds)
        still_open = {round_.id: round_ for round_ in is_open if self._steps.journal.get(round_.id) is None}
        for round_id in known.keys() - still_open.keys():
            self.forget(round_id)
        self._open.update(still_open)
        return [*self._unfinished(), *await self._fitting()]

    def on_event(self, event: Event) -> list[int]:
        """The round of an event that concerns this wallet; costs the same however many rounds there are."""
        if isinstance(event, RoundAborted):
            self._on_abort(event.round_id)
        rival = self._is_of_a_rival(event)
        if rival or isinstance(event, (RoundCreated, ValidatorClaimed)) or event.round_id in self._open:
            return [event.round_id]
        record = self._steps.journal.get(event.round_id)
        return [] if record is None or record.state.is_final else [event.round_id]

    def skip(self, round_: Round, decision: Decision) -> None:
        """Remembers that a round does not fit now or ever, and reports each reason once."""
        told = not decision.passing or self._lasts(round_.id)
        if told and self._skipped.get(round_.id) != decision.reason:
            self._steps.reporter.report(Skipped(round_.id, decision.reason))
        if decision.settled:
            self.forget(round_.id)
        else:
            self._open[round_.id] = round_
            (self.unready.add if decision.unready else self.unready.discard)(round_.id)
        if told:  # a settled one as well: an event may name it once more
            self._skipped[round_.id] = decision.reason

    def forget(self, round_id: int) -> None:
        """Takes a round from those to choose from."""
        self._open.pop(round_id, None)
        self._skipped.pop(round_id, None)
        self._passing.pop(round_id, None)
        self.unready.discard(round_id)

    def _lasts(self, round_id: int) -> bool:
        """Whether a reason that passes by itself has not done so for a while."""
        now, policy = self._steps.monotonic(), self._joining.policy
        # Who waits for one round is told at once why it is not joined.
        patience = policy.patience if policy.only_round is None else 0.0
        return now - self._passing.setdefault(round_id, now) >= patience

    def _unfinished(self) -> list[int]:
        return [record.round_id for record in self._steps.journal.unfinished()]

    async def _fitting(self) -> list[int]:
        """The open rounds that fit by what is known of them."""
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
        """Takes rounds into the journal that this wallet joined by other means, and rewards left unclaimed."""
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
                steps.keep(self._joining.record(round_, "joined by other means"))
            elif known.state.is_final and round_.status is RoundStatus.COMPLETED:
                steps.keep(replace(known, state=State.SUBMITTED, reason="a reward is left to claim", attempts=0))

    def _is_of_a_rival(self, event: Event) -> bool:
        """Whether the chain shows a step of this wallet that this daemon has not taken; reports it."""
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
    """Whether the journal may have to learn of a submission."""
    if submission.reward_claimed:
        return False
    return state is None or (state.is_final and submission.contribution_bps > 0)
