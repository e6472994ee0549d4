"""Findings about a network belong to the network, not to a wallet. Old journals have no findings."""

from __future__ import annotations

from pathlib import Path

from decloud_pl.chain.revision import Revision
from decloud_pl.journal.findings import Reading, readings, store_reading, store_revision, stored_revision
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.reader import JournalReader
from decloud_pl.journal.writer import Journal
from tests.journal.versions import make_old_journal

OWNER = Owner("net", "program", "wallet")


def test_a_revision_is_kept_for_every_wallet_of_its_network(tmp_path: Path) -> None:
    found = Revision("v1.1", "a claim takes 7 accounts", 10.0)
    with Journal(tmp_path / "j", OWNER) as journal:
        assert stored_revision(journal) is None
        store_revision(journal, Revision("v1.x", "nothing yet", 5.0))
        store_revision(journal, found)
    with JournalReader(tmp_path / "j", OWNER._replace(wallet="another")) as journal:
        assert stored_revision(journal) == found
    with JournalReader(tmp_path / "j", OWNER._replace(program_id="another")) as journal:
        assert stored_revision(journal) is None


def test_readings_are_listed_by_validator_the_latest_round_first(tmp_path: Path) -> None:
    of_v = [Reading(3, "v", "delta", "fits better"), Reading(7, "v", None, "all shares are equal")]
    of_w = Reading(5, "w", "gradient", "fits better")
    with Journal(tmp_path / "j", OWNER) as journal:
        for reading in (*of_v, of_w):
            store_reading(journal, reading)
        store_reading(journal, of_w)
        assert readings(journal, "v") == of_v[::-1]
        assert readings(journal) == [of_v[1], of_w, of_v[0]]


def test_an_old_journal_has_no_findings_and_takes_them_once_it_is_opened_to_write(tmp_path: Path) -> None:
    make_old_journal(tmp_path / "j", "version 4 with uploads")
    with JournalReader(tmp_path / "j", OWNER) as reader:
        assert (stored_revision(reader), readings(reader)) == (None, [])
    with Journal(tmp_path / "j", OWNER) as journal:
        store_revision(journal, Revision("v1.2", "", 1.0))
        row = journal.get(7)
        assert row is not None
        assert (row.validator, row.convention, row.convention_why) == (None, None, None)
        assert stored_revision(journal) == Revision("v1.2", "", 1.0)
