"""The activity file and the reader: what was written is found again, while the daemon writes and after."""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from decloud_pl.chain.endpoints import RpcHealth
from decloud_pl.errors import JournalError
from decloud_pl.journal.owner import Scope
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.journal.schema import JOURNAL_FILE
from decloud_pl.journal.writer import Journal
from decloud_pl.observers import activity as module
from decloud_pl.observers.activity import ACTIVITY_FILE, Activity
from decloud_pl.observers.reader import JournalReader
from decloud_pl.rounds.events import Changed, Connected, DaemonEvent, Looked, Skipped, Trouble

SCOPE = Scope("genesis-hash", "program", "wallet")
NOW = 1_000_000.0


def record(round_id: int, state: State, **changes: object) -> RoundRecord:
    row = RoundRecord(round_id, state, "custom", "digits", "bafybase", 10**9)
    return replace(row, **changes)  # type: ignore[arg-type]


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        self.now += 1
        return self.now


def journal_of(home: Path, scope: Scope = SCOPE, clock: Clock | None = None) -> Journal:
    return Journal(
        home / JOURNAL_FILE,
        network=scope.network,
        program_id=scope.program_id,
        wallet=scope.wallet,
        now=clock or Clock(),
    )


def activity_of(home: Path, *events: DaemonEvent, health: RpcHealth | None = None) -> Activity:
    found = Activity(
        home / ACTIVITY_FILE, scope=SCOPE.folder, facts={"network": "local"}, health=health or RpcHealth(), now=Clock()
    )
    for event in events:
        found.report(event)
    return found


def test_a_home_without_files_is_empty(tmp_path: Path) -> None:
    with JournalReader(tmp_path) as reader:
        assert (reader.scope, reader.scopes(), reader.rounds(), reader.states()) == (None, [], [], {})
        assert (reader.earned(), reader.spent(), reader.claims(), reader.log()) == (0, None, [], [])
        assert (reader.daemon(NOW), reader.count(), reader.skip_reasons(), reader.deadlines()) == (None, 0, [], {})
    assert list(tmp_path.iterdir()) == []


def test_rows_are_read_while_the_journal_is_held(tmp_path: Path) -> None:
    journal = journal_of(tmp_path)
    journal.save(record(1, State.TRAINING))
    journal.save(record(2, State.CLAIMED, claimed_lamports=5, accuracy_before=0.5, accuracy_after=0.75))
    with JournalReader(tmp_path) as reader:
        assert reader.scope == SCOPE
        assert [entry.round_id for entry in reader.rounds()] == [2, 1]
        assert reader.states() == {"claimed": 1, "training": 1}
        entry = reader.round(2)
        assert entry is not None
        assert (entry.earned, entry.gain, entry.is_final) == (5, 0.25, True)
    journal.close()
    with JournalReader(tmp_path) as reader:
        assert reader.count() == 2


def test_reading_changes_nothing(tmp_path: Path) -> None:
    journal_of(tmp_path).close()
    with JournalReader(tmp_path) as reader:
        assert reader._journal is not None
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader._journal.execute("DELETE FROM rounds")


def test_wallets_are_kept_apart(tmp_path: Path) -> None:
    clock = Clock()
    other = Scope("genesis-hash", "program", "other")
    for scope, state in ((other, State.CLAIMED), (SCOPE, State.FAILED)):
        journal = journal_of(tmp_path, scope, clock)
        journal.save(record(1, state, claimed_lamports=7))
        journal.close()
    with JournalReader(tmp_path) as reader:
        assert reader.scopes() == [SCOPE, other]  # the latest first
        assert (reader.earned(), reader.states()) == (0, {"failed": 1})
    with JournalReader(tmp_path, other) as reader:
        assert (reader.earned(), reader.states()) == (7, {"claimed": 1})


def test_filters_take_text_literally(tmp_path: Path) -> None:
    journal = journal_of(tmp_path)
    for number, reason in enumerate(("100 % done", "100 done", "a_b", "aXb", "back\\slash")):
        journal.save(record(number, State.FAILED, reason=reason))
    with JournalReader(tmp_path) as reader:
        found = {text: [entry.round_id for entry in reader.rounds(text=text)] for text in ("0 %", "a_b", "\\", "'")}
        assert found == {"0 %": [0], "a_b": [2], "\\": [4], "'": []}
        assert [entry.round_id for entry in reader.log(text="a_b")] == [2]
    journal.close()


def test_a_journal_of_another_version_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / JOURNAL_FILE) as db:
        db.execute("CREATE TABLE rounds (program_id, wallet, round_id, state, claimed_lamports, updated_at, novelty)")
        db.execute("CREATE TABLE transitions (program_id, wallet, round_id, at, state, reason)")
        db.execute("CREATE TABLE transactions (program_id, wallet, outcome)")
        db.execute("INSERT INTO rounds VALUES ('p', 'w', 3, 'hovering', NULL, 1.0, 'x')")
        db.execute("INSERT INTO transitions VALUES ('p', 'w', 3, 1.0, 'hovering', 'why')")
    db.close()
    with JournalReader(tmp_path) as reader:
        (entry,) = reader.rounds()
        assert (entry.state, entry.dataset, entry.is_final) == ("hovering", None, False)
        assert (reader.spent(), reader.states()) == (None, {"hovering": 1})
        assert [line.text for line in reader.log(kinds=["hovering"])] == ["why"]


def test_a_damaged_journal_is_an_error_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / JOURNAL_FILE
    path.write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(JournalError, match="cannot be read"), JournalReader(tmp_path):
        pass
    assert path.read_bytes().startswith(b"nothing of the kind")


def test_the_log_puts_everything_in_order_and_pages(tmp_path: Path) -> None:
    journal = journal_of(tmp_path)
    activity = activity_of(tmp_path, Skipped(9, "too small"), Trouble(None, "no answer"), Skipped(10, "too late"))
    for number in range(5):
        journal.save(record(number, State.SEEN))
    with JournalReader(tmp_path) as reader:
        whole = reader.log()
        assert [entry.at for entry in whole] == sorted((entry.at for entry in whole), reverse=True)
        assert {entry.kind for entry in whole} == {"seen", "skipped", "trouble"}
        pages, before = [], None
        while page := reader.log(limit=3, before=before):
            pages += page
            before = page[-1].at
        assert len(pages) == len({(entry.kind, entry.round_id) for entry in pages}) == 8
        assert [entry.text for entry in reader.log(kinds=["skipped"], text="small")] == ["too small"]
        assert [entry.kind for entry in reader.log(round_id=9)] == ["skipped"]
    activity.close()
    journal.close()


def test_reasons_are_counted_without_their_numbers(tmp_path: Path) -> None:
    journal_of(tmp_path).close()
    few = [Skipped(number, f"its reward of 0.0{number} SOL is too small") for number in range(1, 4)]
    activity = activity_of(tmp_path, *few, Skipped(8, "too late"))
    journal = journal_of(tmp_path)
    journal.save(record(8, State.SEEN))
    with JournalReader(tmp_path) as reader:
        assert reader.skip_reasons() == [("its reward of … SOL is too small", 3), ("too late", 1)]
        activity.report(Changed(record(8, State.SEEN)))  # it fits after all
        assert reader.skip_reasons() == [("its reward of … SOL is too small", 3)]
    activity.close()
    journal.close()


def test_skips_and_troubles_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEPT_SKIPS", 50)
    monkeypatch.setattr(module, "_KEPT_TROUBLES", 20)
    activity = activity_of(tmp_path)
    for number in range(1000):
        activity.report(Skipped(number, "no"))
        activity.report(Trouble(None, f"trouble {number}"))
    activity.close()
    with sqlite3.connect(tmp_path / ACTIVITY_FILE) as db:
        skips, last = db.execute("SELECT COUNT(*), MAX(round_id) FROM skips").fetchone()
        troubles = db.execute("SELECT COUNT(*) FROM troubles").fetchone()[0]
    db.close()
    assert skips <= 50 + module._TRIM_EVERY
    assert troubles <= 20 + module._TRIM_EVERY
    assert last == 999


def test_deadlines_are_told_in_this_machines_time(tmp_path: Path) -> None:
    journal = journal_of(tmp_path)
    journal.save(record(4, State.TRAINING))
    activity = activity_of(tmp_path, Looked(4, deadline=5_100, chain_now=5_000, balance=3))
    with JournalReader(tmp_path) as reader:
        assert 100 <= reader.deadlines()[4] - NOW < 110
        activity.report(Looked(4, deadline=None, chain_now=5_000, balance=3))
        assert reader.deadlines() == {}
    activity.close()
    journal.close()


def test_the_daemons_state_ends_with_it(tmp_path: Path) -> None:
    journal = journal_of(tmp_path)
    journal.save(record(4, State.PUBLISHING))
    health = RpcHealth(requests=9, errors=2, heard_at=NOW)
    failures = [Changed(record(4, State.PUBLISHING, attempts=attempts)) for attempts in (1, 2, 2)]
    activity = activity_of(tmp_path, Connected("wallet", 77), *failures, health=health)
    activity.beat()
    with JournalReader(tmp_path) as reader:
        status = reader.daemon(NOW + 20)
        assert status is not None
        assert (status.alive, status.balance, status.heard_at) == (True, 77, NOW)
        assert (status.rpc_requests, status.rpc_errors, status.publish_failures) == (9, 2, 2)
        assert status.facts == {"network": "local"}
        late = reader.daemon(NOW + 3600)
        assert late is not None
        assert not late.alive
    activity.close()
    with JournalReader(tmp_path) as reader:
        ended = reader.daemon(NOW + 20)
        assert ended is not None
        assert not ended.alive
    journal.close()


def test_a_damaged_activity_file_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / ACTIVITY_FILE).write_bytes(b"nothing of the kind" * 100)
    activity_of(tmp_path, Skipped(1, "no")).close()
    assert (tmp_path / f"{ACTIVITY_FILE}.damaged").read_bytes().startswith(b"nothing")
    with sqlite3.connect(tmp_path / ACTIVITY_FILE) as db:
        assert db.execute("SELECT COUNT(*) FROM skips").fetchone() == (1,)
    db.close()


def test_a_place_that_cannot_be_written_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / ACTIVITY_FILE).mkdir()
    with caplog.at_level(logging.WARNING):
        activity_of(tmp_path, Skipped(1, "no"), Trouble(2, "no")).close()
    assert len(caplog.records) == 1
