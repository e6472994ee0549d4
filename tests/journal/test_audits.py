"""Audits of rounds belong to the network, not to a wallet. Old journals have no audits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from decloud_pl.errors import JournalError
from decloud_pl.journal.audits import Audit, audit_of, audits, store_audit
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.reader import JournalReader
from decloud_pl.journal.writer import Journal
from tests.journal.versions import make_old_journal

OWNER = Owner("net", "program", "wallet")
FAIR = Audit(3, "v", "c", "fair", "delta", "wallet", 6_000, 5_980, 100, 12.5, note="within the noise")
UNFAIR = replace(FAIR, round_id=7, verdict="unfair", paid_bps=1_000, is_late=True)
UNKNOWN = Audit(5, "w", "c", "unknown", note="a file is gone", tries_left=2)


def test_audits_are_listed_the_latest_round_first(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", OWNER, now=lambda: 10.0) as journal:
        for audit in (replace(FAIR, verdict="unknown"), FAIR, UNFAIR, UNKNOWN):
            store_audit(journal, audit)
    with JournalReader(tmp_path / "j", OWNER._replace(wallet="another")) as journal:
        assert audits(journal) == [UNFAIR, UNKNOWN, FAIR]
        assert (audit_of(journal, 7), audit_of(journal, 8)) == (UNFAIR, None)
        assert audits(journal)[0].at == 10.0
    with JournalReader(tmp_path / "j", OWNER._replace(program_id="another")) as journal:
        assert audits(journal) == []


def test_what_was_not_paid_counts_only_beyond_the_noise() -> None:
    assert (FAIR.lost_bps, UNFAIR.lost_bps, UNKNOWN.lost_bps) == (0, 5_000, 0)
    assert replace(FAIR, paid_bps=10_000).lost_bps == -4_000


def test_an_old_journal_takes_audits_once_it_is_opened_to_write(tmp_path: Path) -> None:
    make_old_journal(tmp_path / "j", "version 5 with uploads")
    with JournalReader(tmp_path / "j", OWNER) as reader:
        assert audits(reader) == []
    with Journal(tmp_path / "j", OWNER) as journal:
        store_audit(journal, FAIR)
        assert audits(journal) == [FAIR]


@pytest.mark.parametrize(
    "damage", ["verdict = 'good'", "fair_bps = 20000", "paid_bps = 'all'", "note = x'00'", "convention = 'sum'"]
)
def test_a_damaged_row_is_refused(tmp_path: Path, damage: str) -> None:
    with Journal(tmp_path / "j", OWNER) as journal:
        store_audit(journal, FAIR)
        journal.connection.execute(f"UPDATE audits SET {damage}")
        with pytest.raises(JournalError, match="a row of audits is damaged"):
            audits(journal)
