"""The reader returns the writer's rows from a journal of any version, during writes and afterwards."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from decloud_pl.errors import JournalError
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.reader import JournalReader, Transition
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.journal.schema import JOURNAL_FILE, connect_read_only
from decloud_pl.journal.uploads import JournalUploadLog, finished_cids
from decloud_pl.journal.writer import Journal
from decloud_pl.store.uploads import Upload, UploadState
from tests.journal.versions import OLD_JOURNALS, make_old_journal

OWNER = Owner("net", "program", "wallet")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / JOURNAL_FILE


def record(round_id: int, state: State, **changes: object) -> RoundRecord:
    row = RoundRecord(round_id, state, "custom", "digits", "bafybase", 10**9)
    return replace(row, **changes)  # type: ignore[arg-type]


def traces(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_journal_that_is_not_there_is_empty(path: Path) -> None:
    with JournalReader(path) as journal:
        assert (journal.owner, journal.owners(), journal.rounds(), journal.all_rounds()) == (None, [], [], [])
        assert (journal.get(1), journal.count(), journal.states(), journal.state_counts()) == (None, 0, {}, {})
        assert (journal.earned_since(0), journal.spent_since(0), journal.claims(), journal.all_costs()) == (
            0,
            0,
            [],
            {},
        )
        assert (journal.transitions(1), journal.latest_transitions()) == ([], [])
    path.touch()  # the writer has created the file but no table yet
    with JournalReader(path) as journal:
        assert journal.owners() == []
    assert list(path.parent.iterdir()) == [path]


def test_rows_are_read_while_the_journal_is_written(path: Path) -> None:
    with Journal(path, OWNER, now=Clock()) as journal, JournalReader(path, OWNER) as early:
        assert early.rounds() == []
        journal.save(record(1, State.TRAINING))
        claimed = record(2, State.CLAIMED, claimed_lamports=5, accuracy_before=0.5, accuracy_after=0.75)
        journal.save(claimed)
        assert early.rounds() == [record(1, State.TRAINING), claimed]
        with JournalReader(path) as late:
            assert late.owner == OWNER
            assert late.rounds(descending=True, limit=1) == [claimed]
            assert late.state_counts() == {State.CLAIMED: 1, State.TRAINING: 1}
            found = late.get(2)
            assert found is not None
            assert (found.earned, found.gain, found.updated_at) == (5, 0.25, 1002.0)
            assert late.claims() == [(1002.0, 5)]
            assert (late.earned_since(1002.0), late.earned_since(1003.0)) == (5, 0)
            assert late.latest_transitions(limit=1) == [Transition(1002.0, State.CLAIMED, "", 2)]


def test_a_stopped_writers_journal_is_read_without_a_trace(path: Path) -> None:
    with Journal(path, OWNER) as journal:
        journal.save(record(1, State.CLAIMED))
    before = traces(path.parent)
    with JournalReader(path) as reader:
        assert reader.count() == 1
        assert traces(path.parent) == before
    assert traces(path.parent) == before
    db = connect_read_only(path)
    assert db is not None
    with closing(db), pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.execute("DELETE FROM rounds")
    assert traces(path.parent) == before


def test_a_killed_writers_journal_is_read_as_it_is(path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from decloud_pl.journal.owner import Owner\n"
        "from decloud_pl.journal.record import RoundRecord, State\n"
        "from decloud_pl.journal.writer import Journal\n"
        "journal = Journal(Path(sys.argv[1]), Owner('net', 'program', 'wallet'))\n"
        "journal.save(RoundRecord(1, State.SEEN, 'custom', 'digits', 'bafy', 1))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    before = traces(path.parent)
    with JournalReader(path) as reader:
        assert reader.states() == {1: State.SEEN}
    after = traces(path.parent)
    assert after.keys() == before.keys()
    for name in (JOURNAL_FILE, f"{JOURNAL_FILE}-wal"):
        assert after[name] == before[name]


def test_a_folder_that_cannot_be_written_is_read(path: Path) -> None:
    with Journal(path, OWNER) as journal:
        journal.save(record(1, State.CLAIMED))
    before = traces(path.parent)
    path.parent.chmod(0o500)  # root can still write there, and the reader must leave no trace in that case either
    try:
        with JournalReader(path) as reader:
            assert reader.count() == 1
        assert traces(path.parent) == before
    finally:
        path.parent.chmod(0o700)


def test_owners_are_kept_apart(path: Path) -> None:
    clock = Clock()
    other = OWNER._replace(wallet="other")
    for owner, state in ((other, State.CLAIMED), (OWNER, State.FAILED)):
        with Journal(path, owner, now=clock) as journal:
            journal.save(record(1, state, claimed_lamports=7))
    with JournalReader(path) as reader:
        assert reader.owners() == [OWNER, other]  # the latest first
        assert (reader.owner, reader.earned_since(0), reader.states()) == (OWNER, 0, {1: State.FAILED})
        assert [(owner, row.state) for owner, row in reader.all_rounds()] == [
            (other, State.CLAIMED),
            (OWNER, State.FAILED),
        ]
    with JournalReader(path, other) as reader:
        assert (reader.earned_since(0), reader.states()) == (7, {1: State.CLAIMED})


def test_filters_take_text_literally(path: Path) -> None:
    with Journal(path, OWNER) as journal:
        for number, reason in enumerate(("100 % done", "100 done", "a_b", "aXb", "back\\slash")):
            journal.save(record(number, State.FAILED, reason=reason))
        journal.save(record(5, State.SEEN, reason="a_b"))
        for text, rounds in (("0 %", [0]), ("a_b", [2, 5]), ("\\", [4]), ("'", []), ("bafyb", [0, 1, 2, 3, 4, 5])):
            assert [row.round_id for row in journal.rounds(text=text)] == rounds
            assert journal.count(text=text) == len(rounds)
        assert [row.round_id for row in journal.rounds(text="a_b", states=[State.SEEN])] == [5]
        assert journal.rounds(states=["hovering"]) == []
        assert [row.round_id for row in journal.latest_transitions(text="a_b")] == [5, 2]
        assert [row.round_id for row in journal.latest_transitions(text="a_b", states=[State.SEEN])] == [5]


@pytest.mark.parametrize("name", OLD_JOURNALS)
def test_an_older_journal_is_read_as_it_is(path: Path, name: str) -> None:
    make_old_journal(path, name)
    before = traces(path.parent)
    with JournalReader(path) as reader:
        assert reader.owner == OWNER
        row = reader.get(7)
        assert row is not None
        assert (row.state, row.earned, row.gain_low, row.updated_at) == (State.CLAIMED, 9 * 10**8, None, 50.0)
        assert reader.transitions(7) == [Transition(50.0, State.CLAIMED, "", 7)]
        assert reader.all_costs() == {(OWNER, 7): 5100}
        assert reader.measured("digits") == 5.0
    assert traces(path.parent) == before


@pytest.mark.parametrize("name", OLD_JOURNALS)
def test_an_older_journal_is_brought_up_to_date_with_its_rows(path: Path, name: str) -> None:
    make_old_journal(path, name)
    with JournalReader(path) as reader:
        before = reader.all_rounds()
    with Journal(path, OWNER) as journal:
        assert journal.all_rounds() == before
        upload = JournalUploadLog(journal, 7).get("embedded")
        stored = Upload("embedded", "bafyupdate", UploadState.READABLE, "bafystored")
        assert upload == (stored if "uploads" in name else None)
        assert finished_cids(journal, "embedded") == ({"bafyupdate", "bafystored"} if "uploads" in name else set())
        changed = replace(before[0][1], gain_low=0.1, gain_high=0.2)
        journal.save(changed)
        assert journal.get(7) == changed
        made = [row[1:3] for row in journal.connection.execute("PRAGMA table_list") if "sqlite" not in row[1]]
    with Journal(path.with_name("new.sqlite"), OWNER) as journal:
        assert sorted(made) == sorted(
            row[1:3] for row in journal.connection.execute("PRAGMA table_list") if "sqlite" not in row[1]
        )


@pytest.mark.parametrize("version", [1, 99])
@pytest.mark.parametrize("opened", [Journal, JournalReader])
def test_a_version_this_program_does_not_know_is_refused_and_left_alone(
    path: Path, version: int, opened: Callable[..., JournalReader]
) -> None:
    with Journal(path, OWNER) as journal:
        journal.connection.execute(f"PRAGMA user_version = {version}")
    before = path.read_bytes()
    with pytest.raises(JournalError, match=f"has format {version}, but this program supports formats 2 to 6"):
        opened(path, OWNER)
    assert path.read_bytes() == before


def test_a_damaged_journal_is_an_error_and_stays_as_it_is(path: Path) -> None:
    path.write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(JournalError, match=r"cannot be read: file is not a database\. The file was not changed"):
        JournalReader(path)
    assert traces(path.parent) == {path.name: b"nothing of the kind" * 100}
