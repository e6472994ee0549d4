"""The earned and spent amounts in every view include the round in progress."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from decloud_pl.chain.transaction_log import Attempt
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.journal.schema import JOURNAL_FILE
from decloud_pl.journal.transactions import JournalTransactionLog
from decloud_pl.journal.writer import Journal
from decloud_pl.observers.observe import EarningsReporter
from decloud_pl.rounds.events import Changed, DaemonEvent, Earnings

OWNER = Owner("genesis-hash", "program", "wallet")
FEE, DEPOSIT, REWARD = 5_000, 1_500_000, 882_000_000


class Told:
    def __init__(self) -> None:
        self.events: list[DaemonEvent] = []

    def report(self, event: DaemonEvent) -> None:
        self.events.append(event)


def test_a_fee_is_told_when_it_is_paid_not_when_the_round_is_over(tmp_path: Path) -> None:
    told = Told()
    reporter = EarningsReporter(tmp_path / JOURNAL_FILE, OWNER, told)
    row = RoundRecord(3, State.SEEN, "custom", "digits", "bafybase", 10**9)
    with Journal(tmp_path / JOURNAL_FILE, OWNER) as journal:
        log = JournalTransactionLog(journal)

        def enter(state: State, key: str = "", deposit: int = 0) -> None:
            if key:
                log.record(key, Attempt(key, "blockhash", 9, b"", fee=FEE, deposit=deposit))
            record = replace(row, state=state, claimed_lamports=REWARD if state is State.CLAIMED else None)
            journal.save(record)
            reporter.report(Changed(record))

        enter(State.SEEN)
        enter(State.WAITING, "join:3", DEPOSIT)
        enter(State.TRAINING)
        enter(State.SUBMITTED, "submit:3")
        enter(State.CLAIMED, "claim:3")
    spent = DEPOSIT + FEE
    assert told.events == [
        Earnings(0, 0, spent),
        Earnings(0, 0, spent + FEE),
        Earnings(REWARD, REWARD, spent + 2 * FEE),
    ]
