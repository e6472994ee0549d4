"""The network's persistent state in one SQLite file: accounts, transactions and time.

Each executed transaction is one SQLite transaction, so its row and the accounts that it changed appear together.
WAL with ``synchronous=NORMAL`` survives the death of the process at any moment. That is enough for a test network;
an fsync per transaction would take ten times as long as the execution.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solders.account import Account
from solders.pubkey import Pubkey

from decloud_pl.errors import LocalnetError

_VERSION = 1
_SCHEMA = f"""
CREATE TABLE accounts (
    address BLOB PRIMARY KEY, lamports INTEGER, owner BLOB, data BLOB, executable INTEGER
) WITHOUT ROWID;
CREATE TABLE transactions (
    sequence INTEGER PRIMARY KEY, signature TEXT UNIQUE, slot INTEGER, unix_time INTEGER, error TEXT,
    wire BLOB, meta TEXT
);
CREATE TABLE mentions (address BLOB, sequence INTEGER, PRIMARY KEY (address, sequence)) WITHOUT ROWID;
CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB);
PRAGMA user_version = {_VERSION};
"""


_START_OVER = "Choose another folder with --home, or delete this folder to start from scratch."


@dataclass(frozen=True, slots=True)
class Executed:
    """A transaction in the ledger.

    Attributes:
        error: the error in its JSON form, None if the transaction succeeded.
        wire: the signed bytes.
        meta: the ``meta`` of ``getTransaction``, without the error.
    """

    sequence: int
    signature: str
    slot: int
    unix_time: int
    error: Any
    wire: bytes
    meta: dict[str, Any]


class Ledger:
    """The ledger in a file, or in memory if ``path`` is None.

    Raises:
        LocalnetError: raised by the constructor and by every method if the file is damaged, has another format
            version, or cannot be read or written (for example because the disk is full). The existing content
            stays unchanged.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        with self._explained("opened", fix=_START_OVER):
            self._db = sqlite3.connect(":memory:" if path is None else path, isolation_level=None)
        try:
            self._open()
        except BaseException:  # also Ctrl-C: only the constructor can close the connection at this point
            self._db.close()
            raise

    def _open(self) -> None:
        with self._explained("opened", fix=_START_OVER):
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self._db.executescript(f"BEGIN;{_SCHEMA}COMMIT;")
        if version not in (0, _VERSION):
            raise LocalnetError(
                f"The local network's state {self._path} has format {version}, "
                f"but this program reads format {_VERSION}.",
                fix="Choose another folder with --home.",
            )

    @contextmanager
    def _explained(self, verb: str, *, fix: str) -> Iterator[None]:
        """Raise a `LocalnetError` if the block raises an SQLite error.

        Args:
            verb: the participle for the message "The local network's state … cannot be {verb}", for example
                ``opened``.
            fix: what the user can do.
        """
        try:
            yield
        except sqlite3.Error as error:
            raise LocalnetError(
                f"The local network's state {self._path} cannot be {verb}: {error}.", fix=fix
            ) from error

    def _read(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        with self._explained("read", fix=_START_OVER):
            return self._db.execute(sql, parameters).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Run the block as one SQLite transaction."""
        with self._explained("written", fix="Free disk space and retry."):
            try:
                self._db.execute("BEGIN")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                # Also for Ctrl-C and a cancelled task: the next transaction must not begin inside this one.
                # SQLite rolls back some failures on its own, for example when the disk is full.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        self._db.close()

    def fact(self, name: str) -> bytes | None:
        rows = self._read("SELECT value FROM facts WHERE name = ?", name)
        return bytes(rows[0][0]) if rows else None

    def set_fact(self, name: str, value: bytes) -> None:
        with self._writing() as db:
            db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def accounts(self) -> Iterator[tuple[Pubkey, Account]]:
        for address, lamports, owner, data, executable in self._read("SELECT * FROM accounts"):
            account = Account(lamports, data, Pubkey(owner), bool(executable))
            yield Pubkey(address), account

    def append(
        self,
        executed: Executed,
        mentioned: Sequence[Pubkey],
        changed: Iterable[tuple[Pubkey, Account | None]],
    ) -> None:
        """Save a transaction and the accounts that it changed, in one SQLite transaction."""
        with self._writing() as db:
            db.execute(
                "INSERT INTO transactions VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    executed.sequence,
                    executed.signature,
                    executed.slot,
                    executed.unix_time,
                    None if executed.error is None else json.dumps(executed.error),
                    executed.wire,
                    json.dumps(executed.meta),
                ),
            )
            db.executemany(
                "INSERT OR IGNORE INTO mentions VALUES (?, ?)",
                [(bytes(address), executed.sequence) for address in mentioned],
            )
            _keep_accounts(db, changed)

    def keep(self, address: Pubkey, account: Account) -> None:
        """Save an account that was set directly and not by a transaction."""
        with self._writing() as db:
            _keep_accounts(db, [(address, account)])

    def last_sequence(self) -> int:
        return int(self._read("SELECT coalesce(max(sequence), 0) FROM transactions")[0][0])

    def transaction(self, signature: str) -> Executed | None:
        rows = self._read("SELECT * FROM transactions WHERE signature = ?", signature)
        return _executed(rows[0]) if rows else None

    def mentions(
        self, address: Pubkey, *, before: int | None, until: int, newest_slot: int, limit: int
    ) -> list[Executed]:
        """Return at most ``limit`` transactions that mention an address, the newest first.

        Only transactions up to ``newest_slot`` with ``until < sequence < before`` are returned. Without ``before``, the
        sequence has no upper bound.
        """
        rows = self._read(
            "SELECT t.* FROM mentions m JOIN transactions t USING (sequence)"
            " WHERE m.address = ? AND sequence > ? AND sequence < ? AND t.slot <= ?"
            " ORDER BY sequence DESC LIMIT ?",
            *(bytes(address), until, before if before is not None else 1 << 62, newest_slot, limit),
        )
        return [_executed(row) for row in rows]


def _keep_accounts(db: sqlite3.Connection, changed: Iterable[tuple[Pubkey, Account | None]]) -> None:
    for address, account in changed:
        if account is None:
            db.execute("DELETE FROM accounts WHERE address = ?", (bytes(address),))
        else:
            row = (bytes(address), account.lamports, bytes(account.owner), bytes(account.data), account.executable)
            db.execute("INSERT OR REPLACE INTO accounts VALUES (?, ?, ?, ?, ?)", row)


def _executed(row: Sequence[Any]) -> Executed:
    sequence, signature, slot, unix_time, error, wire, meta = row
    return Executed(
        sequence, signature, slot, unix_time, None if error is None else json.loads(error), wire, json.loads(meta)
    )
