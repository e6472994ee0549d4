"""Which rounds are worth a look: from the chain's events, from polling, and from comparing everything.

Events and polls only mark a round; what to do is decided from the chain's present state, so lost, doubled or
late events change nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from decloud_pl.chain.events import (
    Event,
    GradientsSubmitted,
    RoundCreated,
    TrainerJoined,
    ValidatorClaimed,
)
from decloud_pl.domain import Round, RoundStatus, Submission
from decloud_pl.errors import DecloudError
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.journal.writer import Journal
from decloud_pl.rounds.events import Skipped, Trouble
from decloud_pl.rounds.policy import Policy
from decloud_pl.rounds.select import Decision, Situation, select
from decloud_pl.rounds.steps import Steps

DAY_SECONDS = 86_400
_OPEN = (RoundStatus.WAITING_VALIDATOR, RoundStatus.WAITING_TRAINERS)
_RIVAL = "Another machine or program acts for this wallet"
_RIVAL_FIX = "Stop it, or give each machine a wallet of its own."


class Lookout:
    """Keeps the open rounds that this wallet has not joined, and marks rounds that need attention.

    Args:
        mark: called with the id of a round that is worth a look.
    """

    def __init__(self, steps: Steps, policy: Policy, mark: Callable[[int], None]) -> None:
        self._steps = steps
        self._policy = policy
        self._mark = mark
        # As last seen; those that can never fit are left out.
        self._open: dict[int, Round] = {}
        self._known_rounds = 0
        self._skipped: dict[int, str] = {}
        self._unready: set[int] = set()

    def forget(self, round_id: int) -> None:
        """No longer a round to choose from."""
        self._open.pop(round_id, None)
        self._skipped.pop(round_id, None)
        self._unready.discard(round_id)

    def look_at_unready(self) -> None:
        """Marks the rounds whose data set was not here when they were last looked at."""
        for round_id in self._unready:
            self._mark(round_id)

    async def reconcile(self) -> None:
        """Compares everything on chain with the journal; at the start and every hour."""
        chain, journal = self._steps.chain, self._steps.journal
        counter = await chain.counter()
        known = 0 if counter is None else counter.count
        submissions = await chain.submissions_of(self._steps.wallet.address)
        states = journal.states()
        self._open = {
            round_.id: round_ for round_ in await chain.rounds() if round_.status in _OPEN and round_.id not in states
        }
        self._skipped = {round_id: why for round_id, why in self._skipped.items() if round_id in self._open}
        self._unready &= self._open.keys()
        self._known_rounds = known
        await self._recognise([entry for entry in submissions if _is_news(entry, states.get(entry.round_id))])
        for record in journal.unfinished():
            self._mark(record.round_id)
        await self._sift()

    async def catch_up(self) -> None:
        """Reads what may have changed since the last look: new rounds, open ones, this wallet's own."""
        chain = self._steps.chain
        counter = await chain.counter()
        count = 0 if counter is None else counter.count
        asked = [*self._open, *range(self._known_rounds, count)]
        found = await chain.rounds_by_id(asked)
        for round_id in asked:
            round_ = found.get(round_id)
            if round_ is not None and round_.status in _OPEN and self._steps.journal.get(round_id) is None:
                self._open[round_id] = round_
            else:
                self.forget(round_id)
        self._known_rounds = max(self._known_rounds, count)
        for record in self._steps.journal.unfinished():
            self._mark(record.round_id)
        await self._sift()

    def on_event(self, event: Event) -> None:
        """Marks the round of an event that concerns this wallet; costs the same however many rounds there are."""
        self._watch_for_rivals(event)
        if isinstance(event, (RoundCreated, ValidatorClaimed)) or event.round_id in self._open:
            self._mark(event.round_id)
        else:
            record = self._steps.journal.get(event.round_id)
            if record is not None and not record.state.is_final:
                self._mark(event.round_id)

    def situation(self, round_: Round, *, now: int, balance: int) -> Situation:
        """How things stand for a decision about one round."""
        return situation_of(round_, self._steps.journal, resolve=self._policy.resolve, now=now, balance=balance)

    def skip(self, round_: Round, decision: Decision) -> None:
        """Notes that a round does not fit now or ever; says so once for each reason."""
        if self._skipped.get(round_.id) != decision.reason:
            self._steps.reporter.report(Skipped(round_.id, decision.reason))
        if decision.settled:
            self.forget(round_.id)
        else:
            self._open[round_.id] = round_
            self._skipped[round_.id] = decision.reason
            (self._unready.add if decision.unready else self._unready.discard)(round_.id)

    async def _sift(self) -> None:
        """Judges every open round from what is known of it; only those that seem to fit are looked at again."""
        if not self._open:
            return
        now, balance = await self._steps.chain.now_and_balance(self._steps.wallet.address)
        situations: dict[str, Situation] = {}
        for round_ in list(self._open.values()):
            if round_.dataset not in situations:
                situations[round_.dataset] = self.situation(round_, now=now, balance=balance)
            decision = select(round_, self._policy.criteria, situations[round_.dataset], resolve=self._policy.resolve)
            # With a faucet an empty wallet is no reason; what else is wrong is found when the round is looked at.
            if decision.accept or (self._policy.faucet and not decision.settled):
                self._mark(round_.id)
            else:
                self.skip(round_, decision)

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
                steps.keep(new_record(round_, self.resolved(round_), reason="joined by other means"))
            elif known.state.is_final and round_.status is RoundStatus.COMPLETED:
                steps.keep(replace(known, state=State.SUBMITTED, reason="a reward is left to claim", attempts=0))

    def resolved(self, round_: Round) -> str:
        """The data set to train on for a round that this wallet is in already."""
        try:
            return self._policy.resolve(round_.dataset)
        except DecloudError:
            return round_.dataset  # a claim needs no data set; a training will say what is missing

    def _watch_for_rivals(self, event: Event) -> None:
        """Says so when the chain shows a step of this wallet that this daemon has not taken."""
        steps = self._steps
        if not isinstance(event, (TrainerJoined, GradientsSubmitted)) or event.trainer != steps.wallet.address:
            return
        if isinstance(event, TrainerJoined):
            ours = bool(steps.attempts(f"join:{event.round_id}"))
            what = f"it joined round {event.round_id}"
        else:
            record = steps.journal.get(event.round_id)
            ours = record is not None and record.pinned_cid == event.gradient_cid
            what = f"it submitted {event.gradient_cid} to round {event.round_id}"
        if not ours:
            steps.reporter.report(Trouble(event.round_id, f"{_RIVAL}: {what}. {_RIVAL_FIX}"))
            self._mark(event.round_id)


def situation_of(
    round_: Round, journal: Journal, *, resolve: Callable[[str], str], now: int, balance: int
) -> Situation:
    """What the journal knows for a decision about a round, with the chain's time and the wallet's lamports."""
    try:
        resolved = resolve(round_.dataset)
    except DecloudError:
        resolved = ""
    seconds = journal.measured(resolved)
    return Situation(
        now=now,
        balance=balance,
        occupied_slots=sum(record.occupies_slot for record in journal.unfinished()),
        spent=journal.spent_since(journal.now() - DAY_SECONDS),
        train_seconds={} if seconds is None else {resolved: seconds},
        submit_window=journal.submit_window(),
        join_seconds=journal.join_seconds(),
    )


def new_record(round_: Round, resolved: str, *, reason: str = "") -> RoundRecord:
    """The first row of a round."""
    return RoundRecord(
        round_id=round_.id,
        state=State.SEEN,
        dataset=round_.dataset,
        resolved_dataset=resolved,
        model_cid=round_.model_cid,
        reward_amount=round_.reward_amount,
        reason=reason,
    )


def _is_news(submission: Submission, state: State | None) -> bool:
    """Whether the journal may have to learn of a submission."""
    if submission.reward_claimed:
        return False
    return state is None or (state.is_final and submission.contribution_bps > 0)
