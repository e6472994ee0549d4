"""Every transaction log keeps the attempts of each intent in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from decloud_pl.chain.transaction_log import Attempt, MemoryTransactionLog, TransactionLog
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.transactions import JournalTransactionLog
from decloud_pl.journal.writer import Journal

FIRST = Attempt("sig-1", "hash-1", 150, b"\x01\x00\xff")
SECOND = Attempt("sig-2", "hash-2", 300, b"\x02")

Reopen = Callable[[], TransactionLog]


@pytest.fixture(params=["memory", "journal"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reopen]:
    """Return a function that opens the log. A durable log is opened again at each call, as by a new process."""
    if request.param == "memory":
        log = MemoryTransactionLog()
        yield lambda: log
        return
    journals: list[Journal] = []

    def open_journal() -> TransactionLog:
        while journals:
            journals.pop().close()
        journals.append(Journal(tmp_path / "journal.sqlite", Owner("", "program", "wallet")))
        return JournalTransactionLog(journals[0])

    yield open_journal
    journals[0].close()


def test_an_intent_nobody_had_has_no_attempts(reopen: Reopen) -> None:
    assert reopen().attempts("join:1") == []


def test_attempts_come_back_by_intent_in_order(reopen: Reopen) -> None:
    log = reopen()
    log.record("join:1", SECOND)
    log.record("join:1", FIRST)
    log.record("join:2", Attempt("sig-3", "hash-3", 7, b""))
    assert reopen().attempts("join:1") == [SECOND, FIRST]


def test_only_the_attempt_named_is_settled(reopen: Reopen) -> None:
    log = reopen()
    log.record("join:1", FIRST)
    log.record("join:1", SECOND)
    log.settle("join:1", "sig-1", "expired")
    assert reopen().attempts("join:1") == [replace(FIRST, outcome="expired"), SECOND]
    reopen().settle("join:1", "sig-2", "landed")
    assert [attempt.outcome for attempt in reopen().attempts("join:1")] == ["expired", "landed"]
