"""Decide whether to join a round. The daemon, ``explain`` and sessions all use this decision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from decloud_pl.data.entry import Entry
from decloud_pl.domain import Round
from decloud_pl.errors import DatasetError, DatasetNotReady, DecloudError
from decloud_pl.journal.findings import stored_revision
from decloud_pl.journal.reader import JournalReader
from decloud_pl.journal.record import NOT_JOINED, RoundRecord, State
from decloud_pl.journal.track_record import completion
from decloud_pl.rounds.base_models import BaseModels
from decloud_pl.rounds.policy import DAY_SECONDS, Policy
from decloud_pl.rounds.select import Check, Decision, Situation, explain, party_rules, verdict


@dataclass(frozen=True, slots=True)
class _Common:
    """What all rounds of one data set have in common: the data set to train on or why there is none, and its entry."""

    dataset: str | DatasetError
    entry: Entry | None
    situation: Situation


@dataclass(frozen=True)
class Joining:
    """Decides about rounds from the user's policy, the journal's measurements and the inspected base models."""

    policy: Policy
    journal: JournalReader
    base_models: BaseModels | None = None

    def checks(self, round_: Round, *, now: int, balance: int) -> tuple[Check, ...]:
        """Return all checks of a round. ``now`` is in Unix seconds of the chain's clock, ``balance`` in lamports."""
        return tuple(self._checks(round_, self._common(round_.dataset, now, balance, self._completion())))

    def decide(self, round_: Round, *, now: int, balance: int) -> Decision:
        """Decide about a round. If only its data set is missing, start the download."""
        return next(self.decide_all([round_], now=now, balance=balance))

    def decide_all(self, rounds: Iterable[Round], *, now: int, balance: int) -> Iterator[Decision]:
        """Yield a decision for each round. The journal and the data folder are read only once per data set."""
        known: dict[str, _Common] = {}
        prepared: dict[str, Decision] = {}
        completed = self._completion()
        for round_ in rounds:
            if round_.dataset not in known:
                known[round_.dataset] = self._common(round_.dataset, now, balance, completed)
            common = known[round_.dataset]
            decision = verdict(self._checks(round_, common), str(common.dataset))
            if decision.accept:
                if decision.resolved_dataset not in prepared:
                    prepared[decision.resolved_dataset] = self._with_data(decision)
                decision = prepared[decision.resolved_dataset]
            yield decision

    def unreserved(self, balance: int) -> int:
        """Return a balance in lamports, less what the joins that are not confirmed yet may cost."""
        joining = self.journal.count(states=NOT_JOINED)
        return max(0, balance - joining * self.policy.criteria.join_cost)

    def record_of_joined(self, round_: Round) -> RoundRecord:
        """Return a new journal row for a round that this wallet has joined outside this daemon."""
        return replace(self.record(round_, "joined outside this daemon"), state=State.WAITING)

    def record(self, round_: Round, reason: str) -> RoundRecord:
        """Return a new journal row for a round that this wallet will join."""
        return RoundRecord(
            round_id=round_.id,
            state=State.SEEN,
            dataset=round_.dataset,
            resolved_dataset=self._name(round_.dataset),
            model_cid=round_.model_cid,
            reward_amount=round_.net_reward,
            reason=reason,
        )

    def _checks(self, round_: Round, common: _Common) -> Iterator[Check]:
        for check in explain(round_, self.policy.criteria, common.situation, dataset=common.dataset):
            yield _filled(check) if self.policy.faucet else check
        if self.base_models is not None:
            yield self.base_models.check(round_, common.entry, now=common.situation.now)

    def _common(self, dataset: str, now: int, balance: int, completed: Mapping[str, tuple[int, int]]) -> _Common:
        try:
            name = self.policy.resolve(dataset)
            entry = None if self.base_models is None else self.policy.entry(name)
        except DatasetError as error:
            return _Common(error, None, self._situation(dataset, now, balance, completed))
        return _Common(name, entry, self._situation(name, now, balance, completed))

    def _name(self, dataset: str) -> str:
        """Return the data set to train on, or ``dataset`` itself if it is unsupported or its files are missing."""
        try:
            return self.policy.resolve(dataset)
        except DecloudError:
            return dataset

    def objection(self, round_: Round) -> str:
        """Return why the user's rules exclude a round's validator or creator, or "" if they do not."""
        rules = party_rules(round_, self.policy.criteria.rewards, self._completion())
        return next((rule.detail for rule in rules if not rule.passed), "")

    def _completion(self) -> Mapping[str, tuple[int, int]]:
        return completion(self.journal) if self.policy.criteria.rewards.min_completion else {}

    def _situation(self, resolved: str, now: int, balance: int, completed: Mapping[str, tuple[int, int]]) -> Situation:
        journal, here = self.journal, self.journal.now()
        seconds, revision = journal.measured(resolved), stored_revision(journal)
        unsupported = "" if revision is None or revision.is_supported else f"the network runs {revision}"
        join_cost, unsent = self.policy.criteria.join_cost, journal.unsent_joins()
        return Situation(
            now=now,
            balance=self.unreserved(balance),
            occupied_slots=sum(record.occupies_slot for record in journal.unfinished()),
            # Costs count if this machine's clock was less than a day away from now. So a clock that was far ahead does
            # not use up the cap for a long time, and however the clock is set, each of its days has only one cap.
            spent=journal.spent_since(here - DAY_SECONDS, here + DAY_SECONDS) + unsent * join_cost,
            train_seconds={} if seconds is None else {resolved: seconds},
            submit_window=journal.submit_window(),
            join_seconds=journal.join_seconds(),
            unsupported=unsupported,
            completion=completed,
        )

    def _with_data(self, decision: Decision) -> Decision:
        try:
            self.policy.prepare(decision.resolved_dataset)
        except DatasetNotReady as error:
            return Decision(accept=False, reason=str(error).rstrip("."), unready=True)
        except DatasetError as error:
            return Decision(accept=False, reason=str(error).rstrip("."), settled=True)
        return decision


def _filled(check: Check) -> Check:
    """Turn a failed balance check into a passed one, because the network's faucet fills the wallet before a join.

    Return every other check unchanged.
    """
    if check.name != "balance" or check.passed:
        return check
    return replace(check, passed=True, detail=f"{check.detail}; the network's faucet fills the wallet before a join")
