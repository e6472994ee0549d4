"""The journal's file: its tables, its lock, and how it is opened by those who write and those who only look."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from decloud_pl.errors import JournalError, JournalLocked
from decloud_pl.journal.record import RoundRecord, State

JOURNAL_FILE = "journal.sqlite"
"""Its name in the home folder."""
SCHEMA_VERSION = 3
_ADDED: dict[int, tuple[str, ...]] = {2: ("gain_low", "gain_high")}
"""Columns of ``rounds`` that the format after this one added."""


COST = "SUM(CASE outcome WHEN 'expired' THEN 0 WHEN 'failed' THEN fee ELSE fee + deposit END)"
"""Lamports that ``transactions`` took; one whose outcome is not known yet counts as if it will land."""
FIELDS = tuple(entry.name for entry in dataclasses.fields(RoundRecord))
"""Columns of ``rounds`` that are a `RoundRecord`'s."""
_TYPES = {"round_id": "INTEGER NOT NULL", "state": "TEXT NOT NULL"}
_COLUMNS = ",\n    ".join(f"{name} {_TYPES.get(name, '')}".rstrip() for name in FIELDS)

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


def values_of(record: RoundRecord) -> tuple[object, ...]:
    """A record as a row, in the order of `FIELDS`."""
    values = (getattr(record, name) for name in FIELDS)
    return tuple(value.value if isinstance(value, State) else value for value in values)


def record_of(row: Sequence[object]) -> RoundRecord:
    """The inverse of `values_of`."""
    values = dict(zip(FIELDS, row, strict=True))
    values["state"] = State(str(values["state"]))
    return RoundRecord(**values)  # type: ignore[arg-type]  # the columns are the dataclass's own fields


def lock(path: Path) -> int:
    """Takes the lock of a journal until the descriptor is closed, or the process ends.

    Raises:
        JournalLocked: another process has it.
        JournalError: the folder cannot be used.
    """
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


def daemon_process(path: Path) -> int | None:
    """The process that holds a journal, None when none does."""
    try:
        descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        return int(holder) if holder.isdigit() else 0
    finally:
        os.close(descriptor)
    return None


def open_to_write(path: Path) -> sqlite3.Connection:
    """Opens a journal, makes one that is not there, and brings one of an older format up to date.

    Raises:
        JournalError: a newer version wrote it.
        sqlite3.Error: it cannot be opened.
    """
    # The file holds no secret, but what a wallet earns is its owner's business.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    with _closed_on_failure(sqlite3.connect(path, isolation_level=None, timeout=10)) as db:
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


def open_to_read(path: Path) -> sqlite3.Connection:
    """Opens a journal that cannot be changed by this connection; one that is not there is empty.

    Raises:
        JournalError: another version wrote it.
        sqlite3.Error: it cannot be opened.
    """
    if not path.exists():
        db = sqlite3.connect(":memory:", isolation_level=None)
        db.executescript(_SCHEMA)
        return db
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with _closed_on_failure(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=10)) as db:
        _check_version(db, path)
    return db


@contextmanager
def _closed_on_failure(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    try:
        yield db
    except BaseException:
        db.close()
        raise


def _check_version(db: sqlite3.Connection, path: Path) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version != SCHEMA_VERSION:
        raise JournalError(
            f"The journal {path} has format {version}, this program knows {SCHEMA_VERSION}.",
            fix="Start the daemon once, which brings an older one up to date. A newer one needs a newer program.",
        )
