"""Reads the journal and the activity file while the daemon runs or not: no lock taken, nothing written.

Every column is optional: journals of older and newer versions are read as far as they go.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from decloud_pl.errors import JournalError
from decloud_pl.journal.owner import Scope
from decloud_pl.journal.record import State
from decloud_pl.journal.schema import COST, JOURNAL_FILE
from decloud_pl.observers.activity_reader import (
    ActivityReader,
    DaemonStatus,
    Entry,
    columns_of,
    conditions,
    connect,
    like,
)

_FINAL = tuple(state.value for state in State if state.is_final)
ORDERS = {
    name: (name,)
    for name in ("round_id", "state", "updated_at", "dataset", "accuracy_after", "contribution_bps", "reason")
} | {"gain": ("accuracy_after", "accuracy_before"), "earned": ("claimed_lamports",)}
"""What rounds can be sorted by, and the columns it takes; of two, their difference."""


@dataclass(frozen=True, slots=True)
class RoundEntry:
    """A journal's row as far as it is known; amounts in lamports, times in Unix seconds, accuracies 0 to 1."""

    round_id: int
    state: str
    dataset: str | None = None
    resolved_dataset: str | None = None
    model_cid: str | None = None
    reward_amount: int | None = None
    reason: str | None = None
    attempts: int | None = None
    update_cid: str | None = None
    update_size: int | None = None
    pinned_cid: str | None = None
    accuracy_before: float | None = None
    accuracy_after: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    contribution_bps: int | None = None
    claimed_lamports: int | None = None
    join_signature: str | None = None
    submit_signature: str | None = None
    claim_signature: str | None = None
    join_seconds: float | None = None
    train_seconds: float | None = None
    publish_seconds: float | None = None
    claim_seconds: float | None = None
    updated_at: float | None = None

    @property
    def is_final(self) -> bool:
        return self.state in _FINAL

    @property
    def gain(self) -> float | None:
        """Accuracy after less before."""
        if self.accuracy_before is None or self.accuracy_after is None:
            return None
        return self.accuracy_after - self.accuracy_before

    @property
    def earned(self) -> int:
        """Lamports, 0 until they are claimed."""
        return (self.claimed_lamports or 0) if self.state == State.CLAIMED.value else 0


class JournalReader:
    """One look at a home's files; a context manager. Without a journal everything is empty.

    Args:
        home: the folder of the daemon.
        scope: whose rows; the one with the latest change by default.

    Raises:
        JournalError: the journal is damaged or cannot be opened.
    """

    def __init__(self, home: Path, scope: Scope | None = None) -> None:
        self._home = home
        self._wanted = scope
        self._journal: sqlite3.Connection | None = None
        self._activity: ActivityReader | None = None
        self._columns: frozenset[str] = frozenset()
        self.scope: Scope | None = None

    def __enter__(self) -> JournalReader:
        path = self._home / JOURNAL_FILE
        try:
            self._journal = connect(path)
            if self._journal is not None:
                self._columns = columns_of(self._journal, "rounds")
                self.scope = self._wanted or self._latest()
        except sqlite3.Error as error:
            self.close()
            raise JournalError(
                f"The journal {path} cannot be read: {error}.",
                fix="Restore it from a copy, or start with another home.",
            ) from error
        self._activity = ActivityReader(self._home)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for connection in (self._journal, self._activity):
            if connection is not None:
                connection.close()
        self._journal = self._activity = None

    def scopes(self) -> list[Scope]:
        """Whose rows the journal holds, the latest changed first."""
        if "program_id" not in self._columns:
            return []
        network = "network" if "network" in self._columns else "''"
        rows = self._ask(
            f"SELECT {network}, program_id, wallet FROM rounds GROUP BY 1, 2, 3 ORDER BY MAX(updated_at) DESC"  # noqa: S608
        )
        return [Scope(*row) for row in rows]

    def rounds(
        self,
        *,
        states: Sequence[str] = (),
        text: str = "",
        limit: int = -1,
        offset: int = 0,
        oldest_first: bool = False,
        order: str = "round_id",
    ) -> list[RoundEntry]:
        """Rows whose state is one of ``states`` and that have ``text`` in number, data set, reason or CIDs.

        They are sorted by one of `ORDERS`, downwards unless ``oldest_first``; those without a value come last.
        """
        names = [entry.name for entry in fields(RoundEntry) if entry.name in self._columns]
        where, values = self._matching(states, text)
        rows = self._ask(
            f"SELECT {', '.join(names)} FROM rounds WHERE {where} ORDER BY {self._sorting(order, oldest_first)}"  # noqa: S608
            " LIMIT ? OFFSET ?",
            (*values, limit, offset),
        )
        return [RoundEntry(**dict(zip(names, row, strict=True))) for row in rows]

    def count(self, *, states: Sequence[str] = (), text: str = "") -> int:
        """How many rows `rounds` would give without a limit."""
        where, values = self._matching(states, text)
        return int(self._ask(f"SELECT COUNT(*) FROM rounds WHERE {where}", values)[0][0]) if self.scope else 0  # noqa: S608

    def round(self, round_id: int) -> RoundEntry | None:
        names = [entry.name for entry in fields(RoundEntry) if entry.name in self._columns]
        owned, values = self._owned("rounds")
        rows = self._ask(
            f"SELECT {', '.join(names)} FROM rounds WHERE {owned} AND round_id = ?",  # noqa: S608
            (*values, round_id),
        )
        return RoundEntry(**dict(zip(names, rows[0], strict=True))) if rows else None

    def states(self) -> dict[str, int]:
        """How many rounds are in each state."""
        owned, values = self._owned("rounds")
        rows = self._ask(f"SELECT state, COUNT(*) FROM rounds WHERE {owned} GROUP BY state", values)  # noqa: S608
        return {str(state): int(count) for state, count in rows}

    def earned(self, since: float = 0) -> int:
        """Lamports claimed since a time."""
        owned, values = self._owned("rounds")
        rows = self._ask(
            f"SELECT SUM(claimed_lamports) FROM rounds WHERE {owned} AND state = ? AND updated_at >= ?",  # noqa: S608
            (*values, State.CLAIMED.value, since),
        )
        return int(rows[0][0] or 0) if rows else 0

    def spent(self) -> int | None:
        """Lamports that fees and deposits took, None for a journal that does not say."""
        columns = set() if self._journal is None else columns_of(self._journal, "transactions")
        if not {"fee", "deposit"} <= columns:
            return None
        owned, values = self._owned("transactions")
        rows = self._ask(f"SELECT {COST} FROM transactions WHERE {owned}", values)  # noqa: S608
        return int(rows[0][0] or 0) if rows else 0

    def costs(self) -> dict[int, int]:
        """Lamports that fees and deposits took, by round; empty for a journal that does not say."""
        columns = set() if self._journal is None else columns_of(self._journal, "transactions")
        if not {"fee", "deposit"} <= columns:
            return {}
        owned, values = self._owned("transactions")
        found: Counter[int] = Counter()
        for key, cost in self._ask(
            f"SELECT key, {COST} FROM transactions WHERE {owned} GROUP BY key",  # noqa: S608
            values,
        ):
            step, _, rest = key.partition(":")  # "join:7", "check:7:TRAINING"
            number = rest.partition(":")[0]
            if step and number.isdigit():
                found[int(number)] += cost
        return dict(found)

    def claims(self) -> list[tuple[float, int]]:
        """(Unix time, lamports) of every claimed reward, in the order of time."""
        owned, values = self._owned("rounds")
        rows = self._ask(
            f"SELECT updated_at, claimed_lamports FROM rounds WHERE {owned} AND state = ?"  # noqa: S608
            " AND claimed_lamports IS NOT NULL ORDER BY updated_at",
            (*values, State.CLAIMED.value),
        )
        return [(float(at), int(lamports)) for at, lamports in rows]

    def log(
        self,
        *,
        round_id: int | None = None,
        kinds: Sequence[str] = (),
        text: str = "",
        before: float | None = None,
        limit: int = 50,
    ) -> list[Entry]:
        """Entries that match, the latest first.

        Args:
            round_id: of this round alone.
            kinds: states, ``skipped`` or ``trouble``; any when empty.
            text: what an entry must hold.
            before: Unix seconds; entries from then on are left out, for paging.
            limit: of entries.
        """
        if self.scope is None:
            return []
        matching = conditions(round_id, text, before)
        states = [kind for kind in kinds if kind not in ("skipped", "trouble")]
        found: list[Entry] = []
        if states or not kinds:
            owned, values = self._owned("transitions")
            where, more = matching("reason", "state")
            # From the end of the table: by the index every row of the owner would be sorted.
            table = "transitions NOT INDEXED" if round_id is None else "transitions"
            if states:
                where += f" AND state IN ({', '.join('?' for _ in states)})"
            found += (
                Entry(*row)
                for row in self._ask(
                    f"SELECT at, state, round_id, reason FROM {table} WHERE {owned} {where}"  # noqa: S608
                    " ORDER BY rowid DESC LIMIT ?",
                    (*values, *more, *states, limit),
                )
            )
        if self._activity is not None:
            found += self._activity.entries(self.scope, matching, kinds, limit)
        return sorted(found, key=lambda entry: entry.at, reverse=True)[:limit]

    def skip_reasons(self) -> list[tuple[str, int]]:
        """Why rounds were skipped and how many for each reason, the commonest first; … for numbers."""
        return [] if self._activity is None or self.scope is None else self._activity.skip_reasons(self.scope)

    def deadlines(self) -> dict[int, float]:
        """The next deadline of rounds at work, in Unix seconds of this machine."""
        return {} if self._activity is None or self.scope is None else self._activity.deadlines(self.scope)

    def daemon(self, now: float) -> DaemonStatus | None:
        """How the daemon is, None when it has left no word."""
        return None if self._activity is None else self._activity.daemon(self.scope or self._wanted, now)

    def _latest(self) -> Scope | None:
        scopes = self.scopes()
        return scopes[0] if scopes else None

    def _owned(self, table: str) -> tuple[str, tuple[str, ...]]:
        scope = self.scope or Scope("", "", "")
        columns = self._columns if self._journal is None else columns_of(self._journal, table)
        if "network" in columns:
            return "network = ? AND program_id = ? AND wallet = ?", (scope.network, scope.program_id, scope.wallet)
        return "program_id = ? AND wallet = ?", (scope.program_id, scope.wallet)

    def _matching(self, states: Sequence[str], text: str) -> tuple[str, tuple[object, ...]]:
        where, owner = self._owned("rounds")
        values: list[object] = list(owner)
        if states:
            where += f" AND state IN ({', '.join('?' for _ in states)})"
            values += states
        if text:
            searched = ("round_id", "dataset", "resolved_dataset", "reason", "model_cid", "update_cid", "pinned_cid")
            known = [name for name in searched if name in self._columns]
            where += f" AND ({' OR '.join(f'{name} LIKE ? ESCAPE char(92)' for name in known)})"
            values += [like(text)] * len(known)
        return where, tuple(values)

    def _sorting(self, order: str, ascending: bool) -> str:
        direction = "ASC" if ascending else "DESC"
        columns = ORDERS[order]
        if order == "round_id" or not self._columns.issuperset(columns):
            return f"round_id {direction}"
        return f"{' - '.join(columns)} {direction} NULLS LAST, round_id DESC"

    def _ask(self, question: str, values: Sequence[object] = ()) -> list[Any]:
        return [] if self._journal is None or not self._columns else _ask(self._journal, question, values)


def midnight(now: float) -> float:
    """Unix seconds of the day's beginning in this machine's time zone."""
    local = datetime.fromtimestamp(now, tz=UTC).astimezone()
    return local.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()


def _ask(connection: sqlite3.Connection, question: str, values: Sequence[object]) -> list[Any]:
    try:
        return connection.execute(question, values).fetchall()
    except sqlite3.Error as error:
        raise JournalError(
            f"The journal cannot be read: {error}.", fix="Try again, or restore it from a copy."
        ) from error
