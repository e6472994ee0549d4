"""The journal as a reader sees it: without its lock, so while the daemon works."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeAlias

from decloud_pl.daemon.journal import SCHEMA_VERSION
from decloud_pl.daemon.record import RoundRecord, State
from decloud_pl.errors import JournalError

Owner: TypeAlias = tuple[str, str, str]
"""Genesis hash of the chain, program id and wallet address: whose rounds they are."""

_FIELDS = tuple(entry.name for entry in fields(RoundRecord))


@dataclass(frozen=True, slots=True)
class Row:
    """A round in the journal, with whose it is and when it last changed (Unix seconds).

    ``network`` is the chain's genesis hash.
    """

    network: str
    program_id: str
    wallet: str
    updated_at: float
    record: RoundRecord


@dataclass(frozen=True, slots=True)
class Transition:
    """A round that entered a state, or stayed in it for a new reason; ``at`` in Unix seconds."""

    at: float
    state: State
    reason: str


class JournalView:
    """Reads one file and changes nothing in it."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def rows(self) -> list[Row]:
        """Every round of every network and wallet, the one that changed last at the end."""
        names = ", ".join(_FIELDS)
        found = self._db.execute(
            f"SELECT network, program_id, wallet, updated_at, {names} FROM rounds ORDER BY updated_at"  # noqa: S608
        )
        return [
            Row(network, program_id, wallet, at, _record(values)) for network, program_id, wallet, at, *values in found
        ]

    def rows_of(self, owner: Owner) -> dict[int, Row]:
        """The rounds of one owner by number."""
        return {row.record.round_id: row for row in self.rows() if (row.network, row.program_id, row.wallet) == owner}

    def transitions(self, round_id: int, owner: Owner) -> list[Transition]:
        """What happened to a round, in order."""
        found = self._db.execute(
            "SELECT at, state, reason FROM transitions"
            " WHERE network = ? AND program_id = ? AND wallet = ? AND round_id = ? ORDER BY rowid",
            (*owner, round_id),
        )
        return [Transition(at, State(state), reason) for at, state, reason in found]


@contextmanager
def view_journal(path: Path) -> Iterator[JournalView | None]:
    """Opens a journal for reading; None when there is none yet.

    Raises:
        JournalError: it cannot be read or was written by another version. It is left as it is.
    """
    if not path.exists():
        yield None
        return
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=10)) as db:
            # Not mode=ro: SQLite must be able to make the files beside a journal in WAL mode.
            db.execute("PRAGMA query_only = ON")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version != SCHEMA_VERSION:
                raise JournalError(
                    f"The journal {path} has format {version}, this program knows {SCHEMA_VERSION}.",
                    fix="Start the daemon once, or use the program version that wrote it.",
                )
            yield JournalView(db)
    except sqlite3.Error as error:
        raise JournalError(
            f"The journal {path} cannot be read: {error}.", fix="It was left as it is. Restore it from a copy."
        ) from error


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


def _record(values: list[object]) -> RoundRecord:
    named = dict(zip(_FIELDS, values, strict=True))
    named["state"] = State(named["state"])
    return RoundRecord(**named)  # type: ignore[arg-type]  # the columns are the dataclass's own fields
