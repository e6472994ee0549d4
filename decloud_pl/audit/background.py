"""Audit completed rounds in the background."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Literal

from decloud_pl.audit import evidence_file
from decloud_pl.audit.look import Auditor
from decloud_pl.audit.report import Report
from decloud_pl.domain import Round, RoundStatus
from decloud_pl.durable import scratch_folder
from decloud_pl.errors import DatasetError, MachineShortage, StoreError, TrainingError
from decloud_pl.journal.audits import Audit, audit_of, audits, store_audit
from decloud_pl.journal.record import State
from decloud_pl.journal.writer import Journal
from decloud_pl.rounds.background import MOST_BYTES, Background, DailyLimitExceeded
from decloud_pl.rounds.events import Audited, Noted, Reporter, Trouble
from decloud_pl.rounds.scoring import CHILD_SECONDS, MOST_SEARCHED
from decloud_pl.shortage import shortage

Scope = Literal["own", "all"]

_TRIES = 3
"""How many times to try a round whose files or data set are missing, each time on another day."""
_SHORTAGES = 2
"""How many tries of a round that fail for a shortage of this machine do not count."""
_OWN_AT_ONCE = 32
"""How many of this wallet's latest rounds without a final result to audit in one daily search."""
_OTHERS_AT_ONCE = 16
"""The most rounds of other wallets to audit in one daily search."""
_FOR_OTHERS = MOST_BYTES // 2
"""The bytes of the daily limit that are reserved for this wallet's rounds. Other rounds may not use them."""
_PAID = (State.CLAIMED, State.UNREWARDED)


class Audits(Background):
    """Audits each completed round once, in the background, and keeps the results in the journal and in files.

    If files or the data set are missing, or if the scoring takes too long, the audit is tried up to three times, each
    time on another day. The first two tries of a round that fail because this machine lacks memory or disk space do not
    count. Later ones do, because the round itself may need too much. No code that trains or plans may read the results.

    Args:
        auditor: audits one round.
        journal: stores the results, and lists the rounds of this wallet.
        reporter: receives an event for each result.
        home: the home folder, in which the evidence files are stored.
        scope: ``own`` audits only rounds for which this wallet made an update; ``all`` audits other rounds as well.
        turn: see `Background`.
    """

    def __init__(
        self,
        auditor: Auditor,
        journal: Journal,
        reporter: Reporter,
        *,
        home: Path,
        scope: Scope,
        turn: asyncio.Lock | None = None,
    ) -> None:
        super().__init__(auditor.reader, reporter, what="The audit of completed rounds", turn=turn)
        self._auditor = replace(auditor, reader=self._reader)
        self._journal = journal
        self._home = home
        self._scope = scope
        self._wallet = journal.owner.wallet
        self._tries = Counter[int]()  # of rounds that have a result for another wallet
        self._shortages = Counter[int]()  # by round, in this run of the daemon

    async def _look_back(self) -> None:
        finished = {row.round_id for row in audits(self._journal) if not self._is_open(row, is_own=True)}
        own = self._journal.rounds(states=_PAID, limit=MOST_SEARCHED, descending=True)
        unfinished = [record.round_id for record in own if record.pinned_cid and record.round_id not in finished]
        for round_id in unfinished[:_OWN_AT_ONCE]:
            await self._look_at(round_id)
        if self._scope == "all":
            await self._look_at_others()

    async def _look_at_others(self) -> None:
        finished = {row.round_id for row in audits(self._journal) if not row.tries_left}
        left = _OTHERS_AT_ONCE
        async for round_ in self._auditor.chain.latest_rounds(MOST_SEARCHED):
            if left <= 0 or self._reader.bytes_left <= _FOR_OTHERS:
                break
            if round_.status is RoundStatus.COMPLETED and round_.id not in finished:
                left -= 1
                await self._audit(round_)

    async def _look_at(self, round_id: int) -> None:
        record = self._journal.get(round_id)
        is_own = record is not None and record.pinned_cid is not None
        if not is_own and (self._scope == "own" or self._reader.bytes_left <= _FOR_OTHERS):
            return
        before = audit_of(self._journal, round_id)
        if before is not None and not self._is_open(before, is_own=is_own):
            return
        round_ = await self._auditor.chain.round(round_id)
        if round_ is not None and round_.status is RoundStatus.COMPLETED:
            await self._audit(round_)

    def _is_open(self, row: Audit, *, is_own: bool) -> bool:
        """Return whether to audit a round that has a result: tries are left, or it is for another wallet only."""
        was_for_another = row.convention is not None and row.trainer != self._wallet
        return bool(row.tries_left) or (is_own and was_for_another and self._tries[row.round_id] < _TRIES)

    async def _audit(self, round_: Round) -> None:
        """Audit a round at most once a day. Store the result, or the reason why the audit failed."""
        if not self._may_look(round_.id):
            return
        is_fresh = self._reader.is_fresh
        try:
            with scratch_folder("decloud-audit-") as folder:
                report = await self._auditor.audit(round_, folder, own=self._wallet, background=True)
        except TimeoutError:
            self._failed(round_, f"Scoring its updates takes longer than {CHILD_SECONDS:.0f} s on this machine.")
        except (StoreError, DatasetError, MachineShortage, OSError) as error:
            missing = shortage(error)
            if isinstance(error, DailyLimitExceeded) and not is_fresh:
                self._reporter.report(Noted(round_.id, f"{error} It is audited on another day."))
                return
            self._shortages[round_.id] += missing is not None
            if missing is None or self._shortages[round_.id] > _SHORTAGES:
                self._failed(round_, str(error) if missing is None else missing.message)
            else:
                then = f"Round {round_.id} is audited on another day."
                self._reporter.report(Trouble.then(None, missing, then))  # a notification for each round is too much
        except TrainingError as error:
            self._failed(round_, str(error), is_final=True)
        else:
            self._keep(report)

    def _keep(self, report: Report) -> None:
        path = evidence_file.path_of(self._home, self._journal.owner, report.round_id)
        try:
            evidence_file.write(path, report)
        except OSError as error:
            told = shortage(error, places=[self._home])
            why = told.message if told else f"{path} cannot be written: {error.strerror}."
            self._reporter.report(Noted(report.round_id, f"{why} The audit is repeated on another day."))
            return
        self._store(report.row(self._wallet))

    def _failed(self, round_: Round, why: str, *, is_final: bool = False) -> None:
        before = audit_of(self._journal, round_.id)
        if before is not None and before.convention is not None:  # a result for another wallet of this machine
            self._tries[round_.id] += _TRIES if is_final else 1
            self._reporter.report(Noted(round_.id, f"The round was not audited again for this wallet: {why}"))
            return
        tries_left = 0 if is_final else (_TRIES if before is None else before.tries_left) - 1
        row = Audit(
            round_.id,
            str(round_.validator),
            str(round_.creator),
            "unknown",
            note=f"The round was not scored: {why}",
            tries_left=max(0, tries_left),
        )
        self._store(row)

    def _store(self, row: Audit) -> None:
        store_audit(self._journal, row)
        if row.tries_left:
            message = f"Not audited yet. {row.note} It is audited on another day."
        else:
            message = f"Audit: {row.verdict}. {row.said}"
        self._reporter.report(Audited(row.round_id, message, verdict=row.verdict, lost_bps=row.lost_bps))
