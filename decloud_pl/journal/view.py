"""The journal as a reader sees it: without its lock, so while the daemon works."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from decloud_pl.errors import JournalError
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.journal.schema import FIELDS, SCHEMA_VERSION, record_of

Owner: TypeAlias = tuple[str, str, str]
"""Genesis hash of the chain, program id and wallet address: whose rounds they are."""


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
        names = ", ".join(FIELDS)
        found = self._db.execute(
            f"SELECT network, program_id, wallet, updated_at, {names} FROM rounds ORDER BY updated_at"  # noqa: S608
        )
        return [
            Row(network, program_id, wallet, at, record_of(values))
            for network, program_id, wallet, at, *values in found
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
