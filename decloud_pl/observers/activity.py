"""The activity file: skipped rounds, troubles, deadlines and the state of the daemon.

It is a SQLite file next to the journal. No decision depends on it. So writes do not wait for the disk, the file has a
size limit, and a failed write does not stop the daemon. Only the journal must be correct.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from decloud_pl.chain.endpoints import RpcHealth
from decloud_pl.durable import make_private
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.record import State
from decloud_pl.rounds.events import Changed, Connected, DaemonEvent, Looked, Noted, Skipped, Trouble

logger = logging.getLogger(__name__)

ACTIVITY_FILE = "activity.sqlite"
_SCHEMA_VERSION = 1
_HEARTBEAT_SECONDS = 1.0

# A scope is the name of an owner's folder.
_SCHEMA = f"""
CREATE TABLE skips (
    scope TEXT NOT NULL, round_id INTEGER NOT NULL, at REAL NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (scope, round_id)
);
CREATE INDEX skips_by_time ON skips (scope, at);
CREATE TABLE troubles (scope TEXT NOT NULL, round_id INTEGER, at REAL NOT NULL, message TEXT NOT NULL);
CREATE INDEX troubles_by_time ON troubles (scope, at);
CREATE TABLE deadlines (
    scope TEXT NOT NULL, round_id INTEGER NOT NULL, deadline REAL NOT NULL, PRIMARY KEY (scope, round_id)
);
CREATE TABLE daemons (
    scope TEXT NOT NULL PRIMARY KEY, pid INTEGER NOT NULL, started_at REAL NOT NULL, stopped_at REAL,
    beat_at REAL NOT NULL, heard_at REAL, balance INTEGER,
    rpc_requests INTEGER NOT NULL, rpc_errors INTEGER NOT NULL, publish_failures INTEGER NOT NULL,
    facts TEXT NOT NULL
);
PRAGMA user_version = {_SCHEMA_VERSION};
"""


class Activity:
    """A `Reporter` that writes the activity file for `ActivityReader`.

    Args:
        path: the file. If it is damaged or has another format version, it is renamed to ``….damaged`` and replaced.
        owner: the owner of the daemon's rounds.
        facts: information about this run that the dashboard shows, without secrets.
        health: the state of the RPC endpoints, read at every heartbeat.
        now: returns Unix seconds.
        kept_skips, kept_troubles: how many skipped rounds and how many troubles to keep.
        trim_every: the number of writes after which surplus rows are deleted.
    """

    def __init__(
        self,
        path: Path,
        *,
        owner: Owner,
        facts: Mapping[str, str],
        health: RpcHealth,
        now: Callable[[], float] = time.time,
        kept_skips: int = 10_000,
        kept_troubles: int = 5_000,
        trim_every: int = 200,
    ) -> None:
        self._kept = {"skips": kept_skips, "troubles": kept_troubles}
        self._trim_every = trim_every
        self._scope = owner.folder
        self._health = health
        self._now = now
        self._db: sqlite3.Connection | None = None
        self._writes = 0
        self._has_warned = False
        self._balance: int | None = None
        self._publish_failures = 0
        self._attempts: dict[int, int] = {}
        self._heartbeat_at = 0.0
        with self._warning_once():
            self._db = _open(path)
        self._facts = dict(facts)
        self._execute("DELETE FROM deadlines WHERE scope = ?", (self._scope,))
        self._execute(
            "INSERT OR REPLACE INTO daemons VALUES (?, ?, ?, NULL, ?, NULL, NULL, 0, 0, 0, ?)",
            (self._scope, os.getpid(), now(), now(), json.dumps(self._facts)),
        )

    def report(self, event: DaemonEvent) -> None:
        if isinstance(event, Skipped):
            self._execute(
                "INSERT OR REPLACE INTO skips VALUES (?, ?, ?, ?)",
                (self._scope, event.round_id, self._now(), event.reason),
            )
        elif isinstance(event, Trouble):
            self._execute(
                "INSERT INTO troubles VALUES (?, ?, ?, ?)", (self._scope, event.round_id, self._now(), event.message)
            )
        elif isinstance(event, Noted) and event.facts:
            self._facts.update(event.facts)
            facts = json.dumps(self._facts)
            self._execute("UPDATE daemons SET facts = ? WHERE scope = ?", (facts, self._scope))
        elif isinstance(event, Connected):
            self._balance = event.balance
        elif isinstance(event, Looked):
            self._look(event)
        elif isinstance(event, Changed):
            record = event.record
            if record.round_id not in self._attempts:  # the round was skipped before and is joined now
                self._execute("DELETE FROM skips WHERE scope = ? AND round_id = ?", (self._scope, record.round_id))
            before = self._attempts.get(record.round_id, 0)
            if record.state is State.PUBLISHING and record.attempts > before:
                self._publish_failures += 1
            self._attempts[record.round_id] = record.attempts
            if record.state.is_final:
                del self._attempts[record.round_id]
                self._execute("DELETE FROM deadlines WHERE scope = ? AND round_id = ?", (self._scope, record.round_id))
        if self._now() - self._heartbeat_at >= _HEARTBEAT_SECONDS:
            self.heartbeat()

    def heartbeat(self) -> None:
        """Record that the daemon is alive, the time of the chain's last answer, the balance and the counters."""
        self._heartbeat_at = self._now()
        health = self._health
        self._execute(
            "UPDATE daemons SET beat_at = ?, heard_at = ?, balance = ?, rpc_requests = ?, rpc_errors = ?,"
            " publish_failures = ? WHERE scope = ?",
            (
                self._heartbeat_at,
                health.heard_at,
                self._balance,
                health.requests,
                health.errors,
                self._publish_failures,
                self._scope,
            ),
        )

    def close(self) -> None:
        self.heartbeat()
        self._execute("UPDATE daemons SET stopped_at = ? WHERE scope = ?", (self._now(), self._scope))
        if self._db is not None:
            self._db.close()
            self._db = None

    def _look(self, event: Looked) -> None:
        self._balance = event.balance
        if event.deadline is not None:
            # The chain's clock may differ from this machine's, so convert the remaining time.
            until = self._now() + event.deadline - event.chain_now
            self._execute("INSERT OR REPLACE INTO deadlines VALUES (?, ?, ?)", (self._scope, event.round_id, until))
        else:
            self._execute("DELETE FROM deadlines WHERE scope = ? AND round_id = ?", (self._scope, event.round_id))

    def _execute(self, statement: str, values: tuple[object, ...]) -> None:
        if self._db is None:
            return
        with self._warning_once():
            self._db.execute(statement, values)
            self._writes += 1
            if self._writes % self._trim_every == 0:
                self._trim(self._db)

    def _trim(self, db: sqlite3.Connection) -> None:
        for table, kept in self._kept.items():
            db.execute(
                f"DELETE FROM {table} WHERE scope = ? AND at < (SELECT at FROM {table} WHERE scope = ?"  # noqa: S608
                " ORDER BY at DESC LIMIT 1 OFFSET ?)",
                (self._scope, self._scope, kept - 1),
            )

    @contextlib.contextmanager
    def _warning_once(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, OverflowError) as error:  # OverflowError if a number is too large for SQLite
            if not self._has_warned:
                self._has_warned = True
                logger.warning(
                    "The activity file cannot be written, so the dashboard and metrics are incomplete: %s", error
                )


def _open(path: Path) -> sqlite3.Connection:
    make_private(path.parent)
    try:
        return _connect(path)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise  # the file may be intact: it is locked, or the disk is full
        path.replace(path.with_name(f"{path.name}.damaged"))
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    db = sqlite3.connect(path, isolation_level=None, timeout=1)
    try:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, _SCHEMA_VERSION):
            raise sqlite3.DatabaseError(f"unsupported format version {version} (expected {_SCHEMA_VERSION})")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = OFF")
        if version == 0:
            db.executescript(f"BEGIN;{_SCHEMA}COMMIT;")
    except sqlite3.Error:
        db.close()
        raise
    return db
