"""The log of the transactions that the daemon sends. The log is a table of the journal."""

from __future__ import annotations

from dataclasses import astuple

from decloud_pl.chain.transaction_log import Attempt, Outcome
from decloud_pl.journal.writer import Journal


class JournalTransactionLog:
    """A `TransactionLog` in the journal's file. `record` returns once the row is on disk."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def record(self, key: str, attempt: Attempt) -> None:
        with self._journal.transaction() as db:
            db.execute(
                "INSERT OR IGNORE INTO transactions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*self._journal.owner, key, *astuple(attempt), self._journal.now()),
            )

    def attempts(self, key: str) -> list[Attempt]:
        columns = "signature, blockhash, last_valid_block_height, wire, outcome, fee, deposit"
        rows = self._journal.select(columns, "transactions", "AND key = ? ORDER BY rowid", (key,))
        return [Attempt(*row) for row in rows]

    def settle(self, key: str, signature: str, outcome: Outcome) -> None:
        with self._journal.transaction() as db:
            db.execute(
                "UPDATE transactions SET outcome = ? WHERE key = ? AND signature = ?",
                (outcome, key, signature),
            )
