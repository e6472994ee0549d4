"""What the network must not forget: accounts, transactions and where its time stood, in one SQLite file.

Each executed transaction is one SQLite transaction: the accounts it changed and its own row appear together.
WAL with ``synchronous=NORMAL`` survives the process's death at any moment, which is all a test network needs;
an fsync per transaction would cost ten times the execution.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
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


@dataclass(frozen=True, slots=True)
class Executed:
    """A transaction that went into the ledger.

    Attributes:
        error: the error in its JSON form, None when it succeeded.
        wire: the signed bytes.
        meta: ``getTransaction``'s ``meta``, without the error.
        accounts: the addresses it mentions, in message order.
    """

    sequence: int
    signature: str
    slot: int
    unix_time: int
    error: Any
    wire: bytes
    meta: dict[str, Any]


class Ledger:
    """The file, or memory alone when ``path`` is None.

    Raises:
        LocalnetError: the file is damaged, of another version, or cannot be opened. It is left as it is.
    """

    def __init__(self, path: Path | None) -> None:
        try:
            self._db = sqlite3.connect(":memory:" if path is None else path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self._db.executescript(f"BEGIN;{_SCHEMA}COMMIT;")
        except sqlite3.Error as error:
            raise LocalnetError(
                f"The local network's state {path} cannot be opened: {error}.",
                fix="Choose another folder with --home, or remove this one to begin anew.",
            ) from error
        if version not in (0, _VERSION):
            raise LocalnetError(
                f"The local network's state {path} has format {version}, this program knows {_VERSION}.",
                fix="Choose another folder with --home.",
            )

    def close(self) -> None:
        self._db.close()

    def fact(self, name: str) -> bytes | None:
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def set_fact(self, name: str, value: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def accounts(self) -> Iterator[tuple[Pubkey, Account]]:
        for address, lamports, owner, data, executable in self._db.execute("SELECT * FROM accounts"):
            account = Account(lamports, data, Pubkey(owner), bool(executable))
            yield Pubkey(address), account

    def append(
        self,
        executed: Executed,
        mentioned: Sequence[Pubkey],
        changed: Iterable[tuple[Pubkey, Account | None]],
    ) -> None:
        """Keeps a transaction and the state after it; both or neither."""
        self._db.execute("BEGIN")
        try:
            self._db.execute(
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
            self._db.executemany(
                "INSERT OR IGNORE INTO mentions VALUES (?, ?)",
                [(bytes(address), executed.sequence) for address in mentioned],
            )
            self._keep_accounts(changed)
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def keep(self, address: Pubkey, account: Account) -> None:
        """Keeps an account that no transaction made."""
        self._keep_accounts([(address, account)])

    def _keep_accounts(self, changed: Iterable[tuple[Pubkey, Account | None]]) -> None:
        for address, account in changed:
            if account is None:
                self._db.execute("DELETE FROM accounts WHERE address = ?", (bytes(address),))
            else:
                self._db.execute(
                    "INSERT OR REPLACE INTO accounts VALUES (?, ?, ?, ?, ?)",
                    (
                        bytes(address),
                        account.lamports,
                        bytes(account.owner),
                        bytes(account.data),
                        account.executable,
                    ),
                )

    def last_sequence(self) -> int:
        return int(self._db.execute("SELECT coalesce(max(sequence), 0) FROM transactions").fetchone()[0])

    def transaction(self, signature: str) -> Executed | None:
        row = self._db.execute("SELECT * FROM transactions WHERE signature = ?", (signature,)).fetchone()
        return None if row is None else _executed(row)

    def mentions(
        self, address: Pubkey, *, before: int | None, until: int, newest_slot: int, limit: int
    ) -> list[Executed]:
        """Transactions up to a slot that mention an address, newest first, with ``until < sequence < before``."""
        rows = self._db.execute(
            "SELECT t.* FROM mentions m JOIN transactions t USING (sequence)"
            " WHERE m.address = ? AND sequence > ? AND sequence < ? AND t.slot <= ?"
            " ORDER BY sequence DESC LIMIT ?",
            (bytes(address), until, before if before is not None else 1 << 62, newest_slot, limit),
        )
        return [_executed(row) for row in rows]


def _executed(row: Sequence[Any]) -> Executed:
    sequence, signature, slot, unix_time, error, wire, meta = row
    return Executed(
        sequence, signature, slot, unix_time, None if error is None else json.loads(error), wire, json.loads(meta)
    )
