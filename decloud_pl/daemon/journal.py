"""The journal: what the daemon intends, written down before every effect.

SQLite in WAL mode with ``synchronous=FULL``: a row that `save` returned from survives SIGKILL and power loss.
One row per (network, program, wallet, round); the chain is truth, this is intent. One process holds a journal at a
time, by a lock on a file beside it that the kernel releases however the process ends.
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from decloud_pl.daemon.record import RoundRecord, State
from decloud_pl.errors import JournalError, JournalLocked

JOURNAL_FILE = "journal.sqlite"
"""Its name in the home folder."""
SCHEMA_VERSION = 3
_ADDED: dict[int, tuple[str, ...]] = {2: ("gain_low", "gain_high")}
"""Columns of ``rounds`` that the format after this one added."""

_FIELDS = tuple(entry.name for entry in dataclasses.fields(RoundRecord))
_TYPES = {"round_id": "INTEGER NOT NULL", "state": "TEXT NOT NULL"}
_OWNED = "network = ? AND program_id = ? AND wallet = ?"
_COST = "SUM(CASE outcome WHEN 'expired' THEN 0 WHEN 'failed' THEN fee ELSE fee + deposit END)"
_RECENT = 5
_COLUMNS = ",\n    ".join(f"{name} {_TYPES.get(name, '')}".rstrip() for name in _FIELDS)

_SCHEMA = f"""
CREATE TABLE rounds (
    network TEXT NOT NULL,
    program_id TEXT NOT NULL,
    wallet TEXT NOT NULL,
    {_COLUMNS},
    updated_at REAL NOT NULL,
    PRIMARY KEY (network, program_id, wallet, round_id)
);
CREATE INDEX rounds_by_state ON rounds (network, program_id, wallet, state);
CREATE INDEX rounds_by_dataset ON rounds (network, program_id, wallet, resolved_dataset, round_id);
CREATE INDEX rounds_by_window ON rounds (network, program_id, wallet, round_id) WHERE submit_window IS NOT NULL;
CREATE TABLE transitions (
    network TEXT NOT NULL,
    program_id TEXT NOT NULL,
    wallet TEXT NOT NULL,
    round_id INTEGER NOT NULL,
    at REAL NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL
);
CREATE INDEX transitions_by_round ON transitions (network, program_id, wallet, round_id);
CREATE TABLE transactions (
    network TEXT NOT NULL,
    program_id TEXT NOT NULL,
    wallet TEXT NOT NULL,
    key TEXT NOT NULL,
    signature TEXT NOT NULL PRIMARY KEY,
    blockhash TEXT NOT NULL,
    last_valid_block_height INTEGER NOT NULL,
    wire BLOB NOT NULL,
    outcome TEXT NOT NULL,
    fee INTEGER NOT NULL,
    deposit INTEGER NOT NULL,
    recorded_at REAL NOT NULL
);
CREATE INDEX transactions_by_time ON transactions (network, program_id, wallet, recorded_at);
CREATE INDEX transactions_by_key ON transactions (network, program_id, wallet, key);
PRAGMA user_version = {SCHEMA_VERSION};
"""


class Journal:
    """The rows of one (network, program, wallet) in one file.

    Calls are short (one fsync at most) and made from one thread, so the daemon's loop makes them directly.

    Args:
        network: the chain's genesis hash: round numbers mean nothing on another chain.
        now: Unix seconds.
        read_only: only looks, beside a daemon that may be running; a journal that is not there is empty.

    Raises:
        JournalLocked: another process holds the journal.
        JournalError: the file cannot be opened, is damaged or was written by a newer version. It is left as
            it is.
    """

    def __init__(
        self,
        path: Path,
        *,
        program_id: str,
        wallet: str,
        network: str = "",
        now: Callable[[], float] = time.time,
        read_only: bool = False,
    ) -> None:
        self.path = path
        self._owner = (network, program_id, wallet)
        self._now = now
        self._lock_fd = None if read_only else _lock(path)
        try:
            self._db = _open_to_read(path) if read_only else _open(path)
        except sqlite3.Error as error:
            self._unlock()
            raise JournalError(
                f"The journal {path} cannot be opened: {error}.",
                fix="It was left as it is. Free disk space or restore it from a copy, then start again.",
            ) from error
        except JournalError:
            self._unlock()
            raise

    @property
    def owner(self) -> tuple[str, str, str]:
        """(genesis hash, program id, wallet address) whose rows these are."""
        return self._owner

    def now(self) -> float:
        """Unix seconds, as rows are stamped with."""
        return self._now()

    @property
    def connection(self) -> sqlite3.Connection:
        return self._db

    def close(self) -> None:
        """Closes the file and releases the lock."""
        self._db.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock_fd is not None:
            os.close(self._lock_fd)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing.

        Raises:
            JournalError: the disk is full or failing; nothing of the block was written.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._rollback()
            raise JournalError(
                f"The journal {self.path} cannot be written: {error}.",
                fix="Free disk space or check the disk, then start again; nothing was lost.",
            ) from error
        except BaseException:
            # Whatever ended the block, a cancelled task or Ctrl-C as well: half of it must not stay open, to be
            # written by the next transaction.
            self._rollback()
            raise

    def _rollback(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def save(self, record: RoundRecord) -> None:
        """Writes a row; notes a transition when its state or reason is new. Returns once it is on disk."""
        names = ", ".join(("network", "program_id", "wallet", *_FIELDS, "updated_at"))
        marks = ", ".join("?" for _ in range(len(_FIELDS) + 4))
        now = self._now()
        before = self.get(record.round_id)
        with self.transaction() as db:
            db.execute(
                f"INSERT OR REPLACE INTO rounds ({names}) VALUES ({marks})",  # noqa: S608 (own column names)
                (*self._owner, *_values(record), now),
            )
            if before is None or (before.state, before.reason) != (record.state, record.reason):
                db.execute(
                    "INSERT INTO transitions VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (*self._owner, record.round_id, now, record.state.value, record.reason),
                )

    def get(self, round_id: int) -> RoundRecord | None:
        rows = self._select("AND round_id = ?", (round_id,))
        return rows[0] if rows else None

    def unfinished(self) -> list[RoundRecord]:
        """Rows with something left to do, oldest round first."""
        open_states = [state.value for state in State if not state.is_final]
        marks = ", ".join("?" for _ in open_states)
        return self._select(f"AND state IN ({marks})", open_states)

    def all(self) -> list[RoundRecord]:
        """Every row, oldest round first."""
        return self._select("", ())

    def transitions(self, round_id: int) -> list[tuple[float, State, str]]:
        """(Unix time, state, reason) in the order they happened."""
        rows = self._db.execute(
            "SELECT at, state, reason FROM transitions WHERE network = ? AND program_id = ? AND wallet = ?"
            " AND round_id = ?"
            " ORDER BY rowid",
            (*self._owner, round_id),
        )
        return [(at, State(state), reason) for at, state, reason in rows]

    def states(self) -> dict[int, State]:
        """The state of every round in the journal."""
        rows = self._db.execute(f"SELECT round_id, state FROM rounds WHERE {_OWNED}", self._owner)  # noqa: S608
        return {round_id: State(state) for round_id, state in rows}

    def spent_since(self, at: float) -> int:
        """Lamports that transactions recorded at or after ``at`` (Unix seconds) took in fees and deposits.

        One whose outcome is not known yet counts as if it will land; one that failed costs its fee.
        """
        row = self._db.execute(
            f"SELECT {_COST} FROM transactions WHERE {_OWNED} AND recorded_at >= ?",  # noqa: S608 (own column names)
            (*self._owner, at),
        ).fetchone()
        return int(row[0] or 0)

    def measured(self, dataset: str) -> float | None:
        """Seconds from a training's start to its published update: the median of the last few, None without any."""
        rows = self._db.execute(
            f"SELECT train_seconds + publish_seconds FROM rounds WHERE {_OWNED} AND resolved_dataset = ?"  # noqa: S608
            " AND train_seconds IS NOT NULL AND publish_seconds IS NOT NULL ORDER BY round_id DESC LIMIT ?",
            (*self._owner, dataset, _RECENT),
        ).fetchall()
        return median(row[0] for row in rows) if rows else None

    def join_seconds(self) -> float:
        """Seconds that joining takes: the median of the last few rounds, 0 without any."""
        rows = self._db.execute(
            f"SELECT join_seconds FROM rounds WHERE {_OWNED} ORDER BY round_id DESC LIMIT ?",  # noqa: S608
            (*self._owner, _RECENT),
        ).fetchall()
        known = [row[0] for row in rows if row[0] is not None]
        return float(median(known)) if known else 0.0

    def submit_window(self) -> int | None:
        """Seconds that rounds leave for a training: the median of the last few seen, None without any."""
        rows = self._db.execute(
            f"SELECT submit_window FROM rounds WHERE {_OWNED} AND submit_window IS NOT NULL"  # noqa: S608
            " ORDER BY round_id DESC LIMIT ?",
            (*self._owner, _RECENT),
        ).fetchall()
        return int(median(row[0] for row in rows)) if rows else None

    def _select(self, where: str, arguments: Sequence[object]) -> list[RoundRecord]:
        names = ", ".join(_FIELDS)
        rows = self._db.execute(
            f"SELECT {names} FROM rounds WHERE {_OWNED} {where} ORDER BY round_id",  # noqa: S608 (own column names)
            (*self._owner, *arguments),
        )
        return [_record(row) for row in rows]


def _values(record: RoundRecord) -> tuple[object, ...]:
    values = (getattr(record, name) for name in _FIELDS)
    return tuple(value.value if isinstance(value, State) else value for value in values)


def _record(row: Sequence[object]) -> RoundRecord:
    values = dict(zip(_FIELDS, row, strict=True))
    values["state"] = State(values["state"])
    return RoundRecord(**values)  # type: ignore[arg-type]  # the columns are the dataclass's own fields


def _lock(path: Path) -> int:
    lock = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalError(
            f"The journal's folder {path.parent} cannot be used: {error.strerror}.",
            fix="Make it writable or set DECLOUD_HOME to another folder.",
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise JournalLocked(
            f"Another daemon{f' (process {holder})' if holder else ''} is using the journal {path}.",
            fix="Stop it first, or give this one its own folder with DECLOUD_HOME.",
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode("ascii"), 0)
    return descriptor


def _open(path: Path) -> sqlite3.Connection:
    # The file holds no secret, but what a wallet earns is its owner's business.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    db = sqlite3.connect(path, isolation_level=None, timeout=10)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version == 0:
        db.executescript(f"BEGIN;{_SCHEMA}COMMIT;")
    elif version in _ADDED:
        _bring_up_to_date(db, version)
    else:
        _check_version(db, path)
    return db


def _bring_up_to_date(db: sqlite3.Connection, version: int) -> None:
    """Adds what later formats have; rows keep everything."""
    steps = [f"ALTER TABLE rounds ADD COLUMN {name};" for old in range(version, SCHEMA_VERSION) for name in _ADDED[old]]
    db.executescript(f"BEGIN;{''.join(steps)}PRAGMA user_version = {SCHEMA_VERSION};COMMIT;")


def _open_to_read(path: Path) -> sqlite3.Connection:
    if not path.exists():
        db = sqlite3.connect(":memory:", isolation_level=None)
        db.executescript(_SCHEMA)
        return db
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=10)
    _check_version(db, path)
    return db


def _check_version(db: sqlite3.Connection, path: Path) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version != SCHEMA_VERSION:
        db.close()
        raise JournalError(
            f"The journal {path} has format {version}, this program knows {SCHEMA_VERSION}.",
            fix="Use the program version that wrote it, or set DECLOUD_HOME to another folder.",
        )
