"""The activity file: a reader gets the written entries, during and after the run of the daemon."""

from __future__ import annotations

import base64
import hashlib
import itertools
import logging
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import base58
import pytest

from decloud_pl.chain.endpoints import RpcHealth
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.reader import JournalReader
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.journal.schema import JOURNAL_FILE
from decloud_pl.journal.writer import Journal
from decloud_pl.observers.activity import ACTIVITY_FILE, Activity
from decloud_pl.observers.activity_reader import ActivityReader, LogEntry, log
from decloud_pl.rounds.events import Changed, Connected, DaemonEvent, Looked, Skipped, Trouble

OWNER = Owner("genesis-hash", "program", "wallet")
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


def journal_of(home: Path) -> Journal:
    return Journal(home / JOURNAL_FILE, OWNER, now=Clock())


def activity_of(home: Path, *events: DaemonEvent, health: RpcHealth | None = None, **bounds: int) -> Activity:
    facts = {"network": "local"}
    path = home / ACTIVITY_FILE
    found = Activity(path, owner=OWNER, facts=facts, health=health or RpcHealth(), now=Clock(), **bounds)
    for event in events:
        found.report(event)
    return found


def log_of(home: Path, **choice: Any) -> list[LogEntry]:
    with JournalReader(home / JOURNAL_FILE, OWNER) as journal, ActivityReader(home, OWNER) as activity:
        return log(journal, activity, **choice)


def test_a_home_without_files_is_empty(tmp_path: Path) -> None:
    for owner in (OWNER, None):
        with ActivityReader(tmp_path, owner) as activity:
            assert (activity.daemon(NOW), activity.skip_reasons(), activity.deadlines()) == (None, [], {})
    assert log_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_activity_file_is_left_out(tmp_path: Path) -> None:
    (tmp_path / ACTIVITY_FILE).write_bytes(b"nothing of the kind" * 100)
    with ActivityReader(tmp_path, OWNER) as activity:
        assert (activity.daemon(NOW), activity.entries()) == (None, [])


@pytest.mark.parametrize("value", ["", "{", "[1]", "[" * 100_000, b"\xff", 5])
def test_facts_that_cannot_be_read_are_left_out(value: object, tmp_path: Path) -> None:
    activity_of(tmp_path).close()
    with sqlite3.connect(tmp_path / ACTIVITY_FILE) as db:
        db.execute("UPDATE daemons SET facts = ?", (value,))
    with ActivityReader(tmp_path, OWNER) as activity:
        status = activity.daemon(NOW)
        assert status is not None
        assert status.facts == {}


def test_before_the_first_round_the_last_daemon_is_shown(tmp_path: Path) -> None:
    activity_of(tmp_path, Skipped(1, "too late")).close()
    with ActivityReader(tmp_path, None) as activity:
        assert activity.skip_reasons() == [("too late", 1)]
        assert activity.daemon(NOW) is not None
    with ActivityReader(tmp_path, OWNER._replace(wallet="other")) as activity:
        assert (activity.daemon(NOW), activity.skip_reasons()) == (None, [])
    assert [path.name for path in tmp_path.iterdir()] == [ACTIVITY_FILE]


def test_the_log_puts_everything_in_order_and_pages(tmp_path: Path) -> None:
    journal = journal_of(tmp_path)
    activity = activity_of(tmp_path, Skipped(9, "too small"), Trouble(None, "no answer"), Skipped(10, "too late"))
    for number in range(5):
        journal.save(record(number, State.SEEN))
    whole = log_of(tmp_path)
    assert [entry.at for entry in whole] == sorted((entry.at for entry in whole), reverse=True)
    assert {entry.kind for entry in whole} == {"seen", "skipped", "trouble"}
    pages, before = [], None
    while page := log_of(tmp_path, limit=3, before=before):
        pages += page
        before = page[-1].at
    assert len(pages) == len({(entry.kind, entry.round_id) for entry in pages}) == 8
    assert [entry.text for entry in log_of(tmp_path, kinds=["skipped"], text="small")] == ["too small"]
    assert [entry.kind for entry in log_of(tmp_path, round_id=9)] == ["skipped"]
    assert [entry.round_id for entry in log_of(tmp_path, kinds=["seen"], limit=2)] == [4, 3]
    activity.close()
    journal.close()


def test_reasons_are_counted_without_their_numbers(tmp_path: Path) -> None:
    journal_of(tmp_path).close()
    few = [Skipped(number, f"its reward of 0.0{number} SOL is too small") for number in range(1, 4)]
    activity = activity_of(tmp_path, *few, Skipped(8, "too late"))
    journal = journal_of(tmp_path)
    journal.save(record(8, State.SEEN))
    with ActivityReader(tmp_path, OWNER) as reader:
        assert reader.skip_reasons() == [("its reward of … SOL is too small", 3), ("too late", 1)]
        activity.report(Changed(record(8, State.SEEN)))  # the round meets the criteria now
        assert reader.skip_reasons() == [("its reward of … SOL is too small", 3)]
    activity.close()
    journal.close()


def test_reasons_are_counted_without_what_strangers_choose(tmp_path: Path) -> None:
    digests = [hashlib.sha256(str(number).encode()).digest() for number in range(1000)]
    cids = ["b" + base64.b32encode(b"\1\x55\x12\x20" + digest).decode().lower().rstrip("=") for digest in digests]
    creators = [base58.b58encode(digest).decode() for digest in digests]
    activity = activity_of(
        tmp_path,
        *(Skipped(number, f"its model_cid: {cid!r} is not a CID") for number, cid in enumerate(cids)),
        *(Skipped(1000 + number, f"its creator {creator} is blocked") for number, creator in enumerate(creators)),
        Skipped(2000, "its validator's record isn't known"),
    )
    with ActivityReader(tmp_path, OWNER) as reader:
        assert dict(reader.skip_reasons()) == {
            "its model_cid: … is not a CID": 1000,
            "its creator … is blocked": 1000,
            "its validator's record isn't known": 1,
        }
    activity.close()


def test_rare_reasons_are_counted_together(tmp_path: Path) -> None:
    words = ["".join(letters) for letters in itertools.product("abcdefgh", repeat=2)]
    skips = [*words, *words[:5], "other", "other"]
    activity = activity_of(tmp_path, *(Skipped(number, reason) for number, reason in enumerate(skips)))
    with ActivityReader(tmp_path, OWNER) as reader:
        reasons = reader.skip_reasons()
    activity.close()
    assert dict(reasons[:6]) == dict.fromkeys([*words[:5], "other"], 2) | {"other": 2 + len(words) - 49}
    assert (len(reasons), sum(count for _, count in reasons)) == (50, len(skips))


def test_skips_and_troubles_are_bounded(tmp_path: Path) -> None:
    activity = activity_of(tmp_path, kept_skips=50, kept_troubles=20, trim_every=10)
    for number in range(1000):
        activity.report(Skipped(number, "no"))
        activity.report(Trouble(None, f"trouble {number}"))
    activity.close()
    with sqlite3.connect(tmp_path / ACTIVITY_FILE) as db:
        skips, last = db.execute("SELECT COUNT(*), MAX(round_id) FROM skips").fetchone()
        troubles = db.execute("SELECT COUNT(*) FROM troubles").fetchone()[0]
    db.close()
    assert 50 <= skips <= 50 + 10
    assert 20 <= troubles <= 20 + 10
    assert last == 999


def test_deadlines_are_told_in_this_machines_time(tmp_path: Path) -> None:
    journal = journal_of(tmp_path)
    journal.save(record(4, State.TRAINING))
    activity = activity_of(tmp_path, Looked(4, deadline=5_100, chain_now=5_000, balance=3))
    with ActivityReader(tmp_path, OWNER) as reader:
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
    activity.heartbeat()
    with ActivityReader(tmp_path, OWNER) as reader:
        status = reader.daemon(NOW + 20)
        assert status is not None
        assert (status.alive, status.balance, status.heard_at) == (True, 77, NOW)
        assert (status.rpc_requests, status.rpc_errors, status.publish_failures) == (9, 2, 2)
        assert status.facts == {"network": "local"}
        late = reader.daemon(NOW + 3600)
        assert late is not None
        assert not late.alive
    activity.close()
    with ActivityReader(tmp_path, OWNER) as reader:
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


def test_a_number_that_is_too_large_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    events = Skipped(2**63, "no"), Trouble(2**64 - 1, "no"), Connected("wallet", 2**64 - 1), Skipped(1, "no")
    with caplog.at_level(logging.WARNING):
        activity_of(tmp_path, *events).close()
    assert len(caplog.records) == 1
    with ActivityReader(tmp_path, OWNER) as activity:
        assert [entry.round_id for entry in activity.entries()] == [1]
