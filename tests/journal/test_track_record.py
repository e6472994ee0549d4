"""The record of how rounds ended survives restarts, stays bounded, and gives each validator's and creator's figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from decloud_pl.errors import JournalError
from decloud_pl.journal.audits import Audit, store_audit
from decloud_pl.journal.findings import Reading, store_reading
from decloud_pl.journal.owner import NOBODY, Owner
from decloud_pl.journal.reader import JournalReader
from decloud_pl.journal.track_record import (
    SeenRound,
    TrackRecord,
    completion,
    endings,
    latest_network,
    store_rounds,
    track_records,
)
from decloud_pl.journal.writer import Journal
from tests.journal.versions import make_old_journal

OWNER = Owner("net", "program", "wallet")
DONE = SeenRound(1, "creator", "validator", "completed", 1_000)

ALL = range(2**64)


def test_the_figures_of_a_validator_come_from_rounds_readings_and_audits(tmp_path: Path) -> None:
    rounds = [
        replace(DONE, scoring_seconds=10.0, split="equal"),
        replace(DONE, round_id=2, scoring_seconds=30.0, split="equal"),
        replace(DONE, round_id=3, split="unequal"),
        replace(DONE, round_id=4, ending="unscored", created_at=1_500),
        replace(DONE, round_id=5, ending="empty", created_at=1_700),
        replace(DONE, round_id=6, validator="another", split="equal"),
        replace(DONE, round_id=7, validator=None, ending="cancelled"),
    ]
    with Journal(tmp_path / "j", OWNER) as journal:
        store_rounds(journal, rounds)
        store_reading(journal, Reading(1, "validator", "gradient", ""))
        store_reading(journal, Reading(2, "validator", "delta", ""))
        store_reading(journal, Reading(3, "validator", None, ""))
        # An audit knows more than the bare shares: those of round 2 were equal and nevertheless fair.
        store_audit(journal, Audit(2, "validator", "creator", "fair", score_seconds=99.0))
        store_audit(journal, Audit(3, "validator", "creator", "unfair", score_seconds=80.0))
        store_audit(journal, Audit(4, "validator", "creator", "unknown"))
    with JournalReader(tmp_path / "j", OWNER._replace(wallet="another")) as journal:
        first, second = track_records(journal, "validator")
        assert first == TrackRecord("validator", 3, 1, 30.0, "delta", 1, 1, 1, 0, 1_700)
        assert (second.address, second.completed, second.equal, second.convention) == ("another", 1, 1, None)
        (creator,) = track_records(journal, "creator")
        assert (creator.address, creator.completed, creator.abandoned) == ("creator", 4, 2)
        assert completion(journal) == {"validator": (3, 4), "another": (1, 1)}


def test_what_was_observed_once_stays_when_a_round_is_stored_again(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", OWNER) as journal:
        store_rounds(journal, [replace(DONE, ending="open", validator=None, is_refused=True)])
        store_rounds(journal, [replace(DONE, scoring_seconds=5.0, split="equal")])
        store_rounds(journal, [DONE])
        assert endings(journal, ALL) == endings(journal, range(1, 2)) == {1: "completed"}
        (validator,) = track_records(journal, "validator")
        assert (validator.scoring_seconds, validator.equal, validator.refused) == (5.0, 1, 1)


def test_the_record_is_bounded_by_network_and_takes_no_number_that_overflows(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", OWNER._replace(network="other")) as journal:
        store_rounds(journal, [DONE])
    with Journal(tmp_path / "j", OWNER) as journal:
        numbers = (*range(5), 2**63, 2**64 - 1)
        store_rounds(journal, [replace(DONE, round_id=number) for number in numbers], most=3)
        assert sorted(endings(journal, ALL)) == [2, 3, 4]
        assert endings(journal, range(2**64 - 1, 2**64)) == {}
        store_rounds(journal, [replace(DONE, round_id=2**63 - 1)], most=3)
        assert sorted(endings(journal, ALL)) == [3, 4, 2**63 - 1]
    with JournalReader(tmp_path / "j", OWNER._replace(network="other")) as journal:
        assert list(endings(journal, ALL)) == [1]


def test_the_network_is_known_without_a_wallet(tmp_path: Path) -> None:
    assert latest_network(tmp_path / "j") == NOBODY
    times = iter((1.0, 2.0))
    for network in ("first", "second"):
        with Journal(tmp_path / "j", OWNER._replace(network=network), now=lambda: next(times)) as journal:
            store_rounds(journal, [DONE])
    assert latest_network(tmp_path / "j") == latest_network(tmp_path / "j", "program") == Owner("second", "program", "")
    assert latest_network(tmp_path / "j", "another") == NOBODY


def test_an_old_journal_has_an_empty_record_and_takes_one_once_it_is_opened_to_write(tmp_path: Path) -> None:
    make_old_journal(tmp_path / "j", "version 6 with uploads")
    with JournalReader(tmp_path / "j", OWNER) as reader:
        assert (track_records(reader, "validator"), completion(reader), endings(reader, ALL)) == ([], {}, {})
    assert latest_network(tmp_path / "j") == NOBODY
    with Journal(tmp_path / "j", OWNER) as journal:
        store_rounds(journal, [DONE])
        assert endings(journal, ALL) == {1: "completed"}


@pytest.mark.parametrize("column", ["created_at", "scoring_seconds"])
def test_a_damaged_row_is_refused(tmp_path: Path, column: str) -> None:
    with Journal(tmp_path / "j", OWNER) as journal:
        store_rounds(journal, [DONE])
        journal.connection.execute(f"UPDATE seen_rounds SET {column} = 'x'")
        with pytest.raises(JournalError, match=r"of seen_rounds is damaged|is not a number"):
            track_records(journal, "validator")
