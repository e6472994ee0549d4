"""The journal: what the daemon intends, written down before every effect.

SQLite in WAL mode with ``synchronous=FULL``: a row that `save` returned from survives SIGKILL and power loss.
One row per (network, program, wallet, round); the chain is truth, this is intent. One process holds a journal at a
time, by a lock on a file beside it that the kernel releases however the process ends.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from decloud_pl.errors import JournalError
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.journal.schema import (
    COST,
    FIELDS,
    lock,
    open_to_read,
    open_to_write,
    record_of,
    values_of,
)

_OWNED = "network = ? AND program_id = ? AND wallet = ?"
_RECENT = 5


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
        self._lock_fd = None if read_only else lock(path)
        try:
            self._db = open_to_read(path) if read_only else open_to_write(path)
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
        names = ", ".join(("network", "program_id", "wallet", *FIELDS, "updated_at"))
        marks = ", ".join("?" for _ in range(len(FIELDS) + 4))
        now = self._now()
        before = self.get(record.round_id)
        with self.transaction() as db:
            db.execute(
                f"INSERT OR REPLACE INTO rounds ({names}) VALUES ({marks})",  # noqa: S608 (own column names)
                (*self._owner, *values_of(record), now),
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
            f"SELECT {COST} FROM transactions WHERE {_OWNED} AND recorded_at >= ?",  # noqa: S608 (own column names)
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
        names = ", ".join(FIELDS)
        rows = self._db.execute(
            f"SELECT {names} FROM rounds WHERE {_OWNED} {where} ORDER BY round_id",  # noqa: S608 (own column names)
            (*self._owner, *arguments),
        )
        return [record_of(row) for row in rows]
