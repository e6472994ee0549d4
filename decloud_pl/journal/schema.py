"""The journal's file: its tables, its format version, its lock, and functions to open it.

When the writer opens a journal of an older version, it upgrades the file. A reader leaves the file unchanged and reads
the columns that exist. Both refuse a journal of a newer version.

Raise `SCHEMA_VERSION` with every change that an older decloud_pl could not read: a new column, a new `State`, or a new
table that the reader uses.
"""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from decloud_pl.durable import make_private
from decloud_pl.errors import JournalError, JournalLocked
from decloud_pl.journal.record import RoundRecord

JOURNAL_FILE = "journal.sqlite"
"""The file's name in the home folder."""
SCHEMA_VERSION = 7

FIELDS = tuple(entry.name for entry in dataclasses.fields(RoundRecord))
"""The columns of the table ``rounds`` that hold the fields of a `RoundRecord`."""
_KINDS: Mapping[str, tuple[type, ...]] = {"int": (int,), "str": (str,), "State": (str,), "float": (float, int)}
KINDS = {
    entry.name: tuple(kind for word in str(entry.type).split(" | ") for kind in _KINDS.get(word, (type(None),)))
    for entry in dataclasses.fields(RoundRecord)
}
"""The accepted types of each column."""
_TYPES = {"round_id": "INTEGER NOT NULL", "state": "TEXT NOT NULL", "updated_at": "REAL NOT NULL"}
_COLUMNS = ",\n    ".join(f"{name} {_TYPES.get(name, '')}".rstrip() for name in FIELDS)

_UPLOADS = """
CREATE TABLE uploads (
    network TEXT NOT NULL,
    program_id TEXT NOT NULL,
    wallet TEXT NOT NULL,
    round_id INTEGER NOT NULL,
    store TEXT NOT NULL,
    update_cid TEXT NOT NULL,
    state TEXT NOT NULL,
    cid TEXT,
    PRIMARY KEY (network, program_id, wallet, round_id, store)
);
"""
_FINDINGS = """
CREATE TABLE revisions (
    network TEXT NOT NULL,
    program_id TEXT NOT NULL,
    name TEXT NOT NULL,
    evidence TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (network, program_id)
);
CREATE TABLE readings (
    network TEXT NOT NULL,
    program_id TEXT NOT NULL,
    round_id INTEGER NOT NULL,
    validator TEXT NOT NULL,
    convention TEXT,
    note TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (network, program_id, round_id)
);
CREATE INDEX readings_by_validator ON readings (network, program_id, validator, round_id);
"""
_AUDITS = """
CREATE TABLE audits (
    network TEXT NOT NULL,
    program_id TEXT NOT NULL,
    round_id INTEGER NOT NULL,
    validator TEXT NOT NULL,
    creator TEXT NOT NULL,
    verdict TEXT NOT NULL,
    convention TEXT,
    trainer TEXT,
    fair_bps INTEGER,
    paid_bps INTEGER,
    noise_bps INTEGER,
    score_seconds REAL,
    is_late INTEGER NOT NULL,
    note TEXT NOT NULL,
    tries_left INTEGER NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (network, program_id, round_id)
);
CREATE INDEX audits_by_validator ON audits (network, program_id, validator, round_id);
"""
_SEEN = """
CREATE TABLE seen_rounds (
    network TEXT NOT NULL,
    program_id TEXT NOT NULL,
    round_id INTEGER NOT NULL,
    creator TEXT NOT NULL,
    validator TEXT,
    ending TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    scoring_seconds REAL,
    split TEXT,
    is_refused INTEGER NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (network, program_id, round_id)
) WITHOUT ROWID;
"""
_SCHEMA = f"""
CREATE TABLE rounds (
    network TEXT NOT NULL,
    program_id TEXT NOT NULL,
    wallet TEXT NOT NULL,
    {_COLUMNS},
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
{_UPLOADS}{_FINDINGS}{_AUDITS}{_SEEN}"""
_MIGRATIONS = {
    2: "ALTER TABLE rounds ADD COLUMN gain_low; ALTER TABLE rounds ADD COLUMN gain_high;",
    # Not every journal of version 3 has the table: the first upload created it. Every upload has its round.
    3: f"""
CREATE TABLE IF NOT EXISTS uploads (owner, round_id, store, update_cid, state, cid);
ALTER TABLE uploads RENAME TO uploads_before;
{_UPLOADS}
INSERT INTO uploads
    SELECT r.network, r.program_id, r.wallet, u.round_id, u.store, u.update_cid, u.state, u.cid
    FROM uploads_before u
    JOIN rounds r ON r.network || '/' || r.program_id || '/' || r.wallet = u.owner AND r.round_id = u.round_id;
DROP TABLE uploads_before;
""",  # noqa: S608 (own names)
    # Version 5 also adds the state aborted.
    4: "ALTER TABLE rounds ADD COLUMN validator; ALTER TABLE rounds ADD COLUMN convention;"
    f" ALTER TABLE rounds ADD COLUMN convention_why;{_FINDINGS}",
    5: _AUDITS,
    # Version 7 also adds the state ready.
    6: _SEEN,
}
"""Maps each older version to the SQL that upgrades a journal from it to the next version."""
_OLDEST_VERSION = min(_MIGRATIONS)
_LOCK_TRIES = 5
_LOCK_PAUSE = 0.05
"""Seconds between two tries."""


def lock(path: Path, *, sleep: Callable[[float], None] = time.sleep) -> int:
    """Lock a journal until the returned descriptor is closed or the process ends.

    If the lock is taken, try again for a short time: `daemon_process` takes it for a moment, too.

    Raises:
        JournalLocked: another process holds the lock.
        JournalError: the folder is not writable.
    """
    lock = path.with_name(path.name + ".lock")
    try:
        make_private(path.parent)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalError(
            f"The journal's folder {path.parent} is not writable: {error.strerror}.",
            fix="Make it writable, or set DECLOUD_HOME to another folder.",
        ) from error
    try:
        _take(descriptor, sleep)
    except OSError as error:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise JournalLocked(
            f"Another daemon{f' (process {holder})' if holder else ''} is using the journal {path}.",
            fix="Stop it first, or set DECLOUD_HOME to a separate folder for this one.",
        ) from error
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode("ascii"), 0)
    except OSError as error:
        os.close(descriptor)
        raise JournalError(
            f"The journal's folder {path.parent} is not writable: {error.strerror}.",
            fix="Free disk space, or set DECLOUD_HOME to another disk.",
        ) from error
    return descriptor


def _take(descriptor: int, sleep: Callable[[float], None]) -> None:
    """Take the lock of an open file. If it is taken, try again a few times.

    Raises:
        OSError: another process holds the lock.
    """
    for _ in range(_LOCK_TRIES - 1):
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        sleep(_LOCK_PAUSE)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def daemon_process(path: Path) -> int | None:
    """Return the ID of the process that holds a journal's lock, 0 if the ID is unknown, or None if the lock is free."""
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
    """Open a journal for writing. Create a missing journal, and upgrade a journal of an older version.

    Raises:
        JournalError: the file cannot be opened, or a newer version of decloud_pl wrote it. The file is not changed.
    """
    with _as_journal_error(f"The journal {path} cannot be opened", "Free disk space, or restore it from a copy."):
        # The file holds no secret, but a wallet's earnings are private.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with _closed_on_failure(sqlite3.connect(path, isolation_level=None, timeout=10)) as db:
            version = _version(db, path)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            if version != SCHEMA_VERSION:
                steps = [_MIGRATIONS[old] for old in range(version, SCHEMA_VERSION)] if version else [_SCHEMA]
                db.executescript(f"BEGIN;{''.join(steps)}PRAGMA user_version = {SCHEMA_VERSION};COMMIT;")
        return db


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a journal read-only. A missing file, or a file without tables, reads as empty.

    Raises:
        JournalError: the file cannot be read, or a newer version of decloud_pl wrote it.
    """
    with _as_journal_error(f"The journal {path} cannot be read", "Restore it from a copy."):
        if os.path.lexists(path) and not path.is_file():  # a folder would look like a journal without rounds
            raise OSError(errno.EINVAL, "it is not a regular file")
        db = connect_read_only(path)
        if db is not None:
            with _closed_on_failure(db):
                if _version(db, path):
                    return db
            db.close()
    empty = sqlite3.connect(":memory:", isolation_level=None)
    empty.executescript(_SCHEMA)
    return empty


def connect_read_only(path: Path) -> sqlite3.Connection | None:
    """Connect to a database in WAL mode without creating or changing a file; return None if the database is missing.

    A ``-wal`` file exists while a process has the database open for writing, and after such a process was killed. The
    file contains the latest rows. This function then uses ``mode=ro``, which reads them.

    Without a ``-wal`` file, no process is writing. This function then uses ``immutable=1``, because with ``mode=ro``
    SQLite would create a ``-wal`` file and leave it there.
    """
    if not path.is_file():
        return None
    in_use = path.with_name(path.name + "-wal").exists()
    uri = f"{path.resolve().as_uri()}?{'mode=ro' if in_use else 'immutable=1'}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=10)


@contextmanager
def _as_journal_error(what: str, fix: str) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise JournalError(f"{what}: {reason}.", fix=f"The file was not changed. {fix}") from error


@contextmanager
def _closed_on_failure(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    try:
        yield db
    except BaseException:  # also Ctrl-C
        db.close()
        raise


def _version(db: sqlite3.Connection, path: Path) -> int:
    """Return the version of a journal's format, or 0 for a file without tables.

    Raises:
        JournalError: this version of decloud_pl does not support the format.
    """
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version == 0 or _OLDEST_VERSION <= version <= SCHEMA_VERSION:
        return version
    raise JournalError(
        f"The journal {path} has format {version}, but this program supports formats {_OLDEST_VERSION} to"
        f" {SCHEMA_VERSION}.",
        fix="Use the version of decloud_pl that wrote it.",
    )
