"""The journal as the daemon writes it: what it intends, on disk before every effect.

SQLite in WAL mode with ``synchronous=FULL``: a row that `save` returned from survives SIGKILL and power loss.
One row per (network, program, wallet, round); the chain is truth, this is intent. One process holds a journal at a
time, by a lock on a file beside it that the kernel releases however the process ends.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, replace
from pathlib import Path

from decloud_pl.errors import JournalError
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.reader import JournalReader
from decloud_pl.journal.record import RoundRecord
from decloud_pl.journal.schema import FIELDS, lock, open_to_write

_COLUMNS = (*Owner._fields, *FIELDS)
_MARKS = ", ".join("?" for _ in _COLUMNS)
_SAVE = f"INSERT OR REPLACE INTO rounds ({', '.join(_COLUMNS)}) VALUES ({_MARKS})"  # noqa: S608 (own column names)


class Journal(JournalReader):
    """The rows of one owner in one file, to write and to read.

    Calls are short (one fsync at most) and made from one thread, so the daemon's loop makes them directly.

    Args:
        path: the journal's file; it is made where it is missing.
        owner: whose rows.
        now: Unix seconds.

    Raises:
        JournalLocked: another process holds the journal.
        JournalError: the file cannot be opened, is damaged or was written by a newer program. It is left as
            it is.
    """

    def __init__(self, path: Path, owner: Owner, *, now: Callable[[], float] = time.time) -> None:
        self._lock_descriptor = lock(path)
        try:
            super().__init__(path, owner, now=now)
        except BaseException:
            os.close(self._lock_descriptor)
            raise

    def _connect(self) -> sqlite3.Connection:
        return open_to_write(self.path)

    @property
    def owner(self) -> Owner:
        """Whose rows these are."""
        return self._key

    @property
    def connection(self) -> sqlite3.Connection:
        return self._db

    def close(self) -> None:
        """Closes the file and releases the lock."""
        super().close()
        os.close(self._lock_descriptor)

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
        now = self._now()
        before = self.get(record.round_id)
        with self.transaction() as db:
            db.execute(_SAVE, (*self._key, *astuple(replace(record, updated_at=now))))
            if before is None or (before.state, before.reason) != (record.state, record.reason):
                db.execute(
                    "INSERT INTO transitions VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (*self._key, record.round_id, now, record.state, record.reason),
                )
