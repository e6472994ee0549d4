"""Write the journal. It records on disk what the daemon intends to do, before the daemon does it.

SQLite runs in WAL mode with ``synchronous=FULL``, so a row survives SIGKILL and power loss once `save` has returned.
There is one row per (network, program, wallet, round). The journal holds the daemon's intent; the chain holds what
really happened. A lock on a separate file lets only one process at a time write to a journal. The kernel releases the
lock when the process ends, even if it is killed.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, replace
from pathlib import Path

from decloud_pl.errors import JournalError, MachineShortage
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.reader import JournalReader
from decloud_pl.journal.record import RoundRecord
from decloud_pl.journal.schema import FIELDS, lock, open_to_write

_COLUMNS = (*Owner._fields, *FIELDS)
_MARKS = ", ".join("?" for _ in _COLUMNS)
_SAVE = f"INSERT OR REPLACE INTO rounds ({', '.join(_COLUMNS)}) VALUES ({_MARKS})"  # noqa: S608 (own column names)


class Journal(JournalReader):
    """Reads and writes the rows of one owner in one file.

    All calls must come from one thread. Each call is so short (at most one fsync) that the daemon's event loop may wait
    for it.

    Args:
        path: the journal's file; a missing file is created.
        owner: the network, program and wallet whose rows are read and written.
        now: returns Unix seconds.

    Raises:
        JournalLocked: another process has locked the journal.
        JournalError: the file cannot be opened, is damaged, or was written by a newer program. The file is not changed.
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
        """The network, program and wallet whose rows this journal reads and writes."""
        return self._key

    @property
    def connection(self) -> sqlite3.Connection:
        return self._db

    def close(self) -> None:
        """Close the file and release the lock."""
        super().close()
        os.close(self._lock_descriptor)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run a block as one transaction: all of its writes are stored, or none.

        Raises:
            MachineShortage: the disk is full; none of the block's writes were stored, and a retry may help.
            JournalError: the disk is failing; none of the block's writes were stored.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._db.rollback()
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                raise MachineShortage(
                    f"No disk space left in {self.path.parent}.", fix="Free disk space there."
                ) from error
            raise JournalError(
                f"The journal {self.path} cannot be written: {error}.",
                fix="Check the disk, then start again. Earlier rows were not lost.",
            ) from error
        except BaseException:
            # Roll back after any exception, including a cancelled task or Ctrl-C. Otherwise the next transaction would
            # write half of the block.
            self._db.rollback()
            raise

    def save(self, record: RoundRecord) -> None:
        """Write a round's row to disk. If its state or reason has changed, also record the transition."""
        now = self._now()
        before = self.get(record.round_id)
        with self.transaction() as db:
            db.execute(_SAVE, (*self._key, *astuple(replace(record, updated_at=now))))
            if before is None or (before.state, before.reason) != (record.state, record.reason):
                db.execute(
                    "INSERT INTO transitions VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (*self._key, record.round_id, now, record.state, record.reason),
                )
