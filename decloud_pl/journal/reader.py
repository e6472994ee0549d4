"""Read a journal without its lock, even while the daemon writes it."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, Self

from decloud_pl.errors import JournalError
from decloud_pl.journal.owner import NOBODY, Owner
from decloud_pl.journal.record import NOT_JOINED, RoundRecord, State
from decloud_pl.journal.schema import FIELDS, KINDS, open_to_read
from decloud_pl.legible import legible

_OWNED = "network = ? AND program_id = ? AND wallet = ?"
_COST = "SUM(CASE outcome WHEN 'expired' THEN 0 WHEN 'failed' THEN fee ELSE fee + deposit END)"
"""The lamports spent on transactions. A transaction with an unknown outcome counts in full, as if it had landed."""
_SEARCHED = ("round_id", "dataset", "resolved_dataset", "reason", "model_cid", "update_cid", "pinned_cid")
_RECENT = 5
_LONGEST_STATE = 40
ORDERS = {
    name: (name,)
    for name in ("round_id", "state", "updated_at", "dataset", "accuracy_after", "contribution_bps", "reason")
} | {"gain": ("accuracy_after", "accuracy_before"), "earned": ("claimed_lamports",)}
"""The sort keys of rounds and their columns. A key with two columns sorts by their difference."""


class Transition(NamedTuple):
    """A round's change of state or reason. ``at`` is in Unix seconds."""

    at: float
    state: State
    reason: str
    round_id: int


class JournalReader:
    """Reads the rows of one owner in a journal; a context manager.

    A reader changes no data and creates no file. A missing file counts as an empty journal. Open a new reader whenever
    you need current data: an open reader may not see the changes of a daemon that starts later.

    Args:
        path: the journal's file.
        owner: the owner of the rows; by default the owner with the latest change.
        now: returns Unix seconds.

    Raises:
        JournalError: the file cannot be read, or a newer version of decloud_pl wrote it. Every method also raises this
            error.
    """

    def __init__(self, path: Path, owner: Owner | None = None, *, now: Callable[[], float] = time.time) -> None:
        self.path = path
        self._now = now
        self._db = self._connect()
        self._sound: set[tuple[type, ...]] = set()
        try:
            present = {row[1] for row in self.ask("PRAGMA table_info(rounds)")}
            self._fields = tuple(name for name in FIELDS if name in present)
            self._owner = owner or next(iter(self.owners()), None)
        except BaseException:  # also Ctrl-C; without an object, nobody else could close the file
            self._db.close()
            raise

    def _connect(self) -> sqlite3.Connection:
        return open_to_read(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @property
    def owner(self) -> Owner | None:
        """The owner whose rows are read, or None if no owner was given and the journal has no rows."""
        return self._owner

    def now(self) -> float:
        """Return the current time in Unix seconds."""
        return self._now()

    def owners(self) -> list[Owner]:
        """Return the owners of all rows, the owner with the latest change first."""
        rows = self.ask("SELECT network, program_id, wallet FROM rounds GROUP BY 1, 2, 3 ORDER BY MAX(updated_at) DESC")
        return [Owner(*row) for row in rows]

    def get(self, round_id: int) -> RoundRecord | None:
        """Return the row of a round, or None if the journal has none."""
        rows = self._rounds("AND round_id = ?", (round_id,))
        return rows[0] if rows else None

    def rounds(
        self,
        *,
        states: Sequence[str] = (),
        text: str = "",
        limit: int = -1,
        offset: int = 0,
        order: str = "round_id",
        descending: bool = False,
    ) -> list[RoundRecord]:
        """Return the rows whose state is in ``states`` and whose number, data set, reason or CIDs contain ``text``.

        An empty filter matches every row. ``order`` is a key of `ORDERS`. Rows without a value to sort by come last.
        """
        where, values = _matching(states, text)
        sorting = self._sorting(order, descending=descending)
        return self._rounds(f"{where} ORDER BY {sorting} LIMIT ? OFFSET ?", (*values, limit, offset))

    def _sorting(self, order: str, *, descending: bool) -> str:
        direction, columns = "DESC" if descending else "ASC", ORDERS[order]
        if order == "round_id" or not set(self._fields).issuperset(columns):
            return f"round_id {direction}"
        return f"{' - '.join(columns)} {direction} NULLS LAST, round_id DESC"

    def count(self, *, states: Sequence[str] = (), text: str = "") -> int:
        """Return the number of rows that `rounds` returns for the same filters without a limit."""
        return int(self.select("COUNT(*)", "rounds", *_matching(states, text))[0][0])

    def unfinished(self) -> list[RoundRecord]:
        """Return the rows in a state that is not final, the oldest round first."""
        return self.rounds(states=[state for state in State if not state.is_final])

    def all_rounds(self) -> list[tuple[Owner, RoundRecord]]:
        """Return the rows of all owners, each with its owner, sorted by the time of their last change."""
        columns = ", ".join((*Owner._fields, *self._fields))
        rows = self.ask(f"SELECT {columns} FROM rounds ORDER BY updated_at")  # noqa: S608 (own column names)
        return [(Owner(*row[:3]), self._record(row[3:])) for row in rows]

    def states(self) -> dict[int, State]:
        """Return the state of each of the owner's rounds, by round number."""
        return {round_id: self.state(state) for round_id, state in self.select("round_id, state", "rounds")}

    def state_counts(self) -> dict[State, int]:
        """Return the number of rounds in each state. States without rounds are left out."""
        counted = self.select("state, COUNT(*)", "rounds", "GROUP BY state")
        return {self.state(state): count for state, count in counted}

    def transitions(self, round_id: int) -> list[Transition]:
        """Return the transitions of a round, the earliest first."""
        return self._transitions("transitions", "AND round_id = ? ORDER BY rowid", (round_id,))

    def latest_transitions(
        self,
        *,
        round_id: int | None = None,
        states: Sequence[str] = (),
        text: str = "",
        before: float | None = None,
        limit: int = -1,
    ) -> list[Transition]:
        """Return the transitions that match all given filters, the latest first.

        ``text`` selects transitions whose reason contains it. ``before`` selects transitions before this time in Unix
        seconds; callers use it for paging.
        """
        where, values = conditions("reason", round_id=round_id, text=text, before=before)
        if states:
            where += f" AND state IN ({_marks(states)})"
        # Read from the end of the table. With the index, SQLite would sort every row of the owner.
        table = "transitions NOT INDEXED" if round_id is None else "transitions"
        return self._transitions(table, f"{where} ORDER BY rowid DESC LIMIT ?", (*values, *states, limit))

    def earned_since(self, at: float) -> int:
        """Return the lamports claimed at or after ``at`` (Unix seconds)."""
        rest = "AND state = ? AND updated_at >= ?"
        return int(self.select("SUM(claimed_lamports)", "rounds", rest, (State.CLAIMED, at))[0][0] or 0)

    def claims(self) -> list[tuple[float, int]]:
        """Return (Unix time, lamports) of every claimed reward, in order of time."""
        rest = "AND state = ? AND claimed_lamports IS NOT NULL ORDER BY updated_at"
        rows = self.select("updated_at, claimed_lamports", "rounds", rest, (State.CLAIMED,))
        if not all(isinstance(value, (int, float)) for row in rows for value in row):
            raise self.damaged("the claimed_lamports of a row is not a number")
        return rows

    def spent_since(self, at: float, until: float = math.inf) -> int:
        """Return the lamports spent on fees and deposits by transactions recorded from ``at`` to ``until``.

        Both times are in Unix seconds. A transaction with an unknown outcome counts in full. A failed transaction
        counts with its fee only.
        """
        rest = "AND recorded_at BETWEEN ? AND ?"
        return int(self.select(_COST, "transactions", rest, (at, until))[0][0] or 0)

    def unsent_joins(self) -> int:
        """Return the number of rounds to join whose join `spent_since` does not contain yet."""
        rest = (
            "AND state IN (?, ?) AND NOT EXISTS (SELECT 1 FROM transactions AS sent WHERE sent.network = rounds.network"
            " AND sent.program_id = rounds.program_id AND sent.wallet = rounds.wallet"
            " AND sent.key = 'join:' || rounds.round_id AND sent.outcome IN ('pending', 'landed'))"
        )
        return int(self.select("COUNT(*)", "rounds", rest, NOT_JOINED)[0][0])

    def all_costs(self) -> dict[tuple[Owner, int], int]:
        """Return the lamports spent on fees and deposits, by owner and round."""
        columns = ", ".join(Owner._fields)
        found: dict[tuple[Owner, int], int] = {}
        for *owner, key, cost in self.ask(
            f"SELECT {columns}, key, {_COST} FROM transactions GROUP BY {columns}, key"  # noqa: S608 (own column names)
        ):
            round_id = _round_of(key)
            if round_id is not None:
                place = (Owner(*owner), round_id)
                found[place] = found.get(place, 0) + cost
        return found

    def left_pending(self) -> list[str]:
        """Return the keys of the transactions of ended rounds whose outcome is not known."""
        ended = {round_id for round_id, state in self.states().items() if state.is_final}
        keys = self.select("DISTINCT key", "transactions", "AND outcome = 'pending'")
        return [key for (key,) in keys if _round_of(key) in ended]

    def measured(self, dataset: str) -> float | None:
        """Return the median of the seconds for training plus publishing, over the last rounds with this data set.

        Return None if no update for the data set was published.
        """
        rows = self.select(
            "train_seconds + publish_seconds",
            "rounds",
            "AND resolved_dataset = ? AND train_seconds IS NOT NULL AND publish_seconds IS NOT NULL"
            " ORDER BY round_id DESC LIMIT ?",
            (dataset, _RECENT),
        )
        return median(row[0] for row in rows) if rows else None

    def join_seconds(self) -> float:
        """Return the median duration of a join in seconds over the last rounds, or 0 if no duration is known."""
        rows = self.select("join_seconds", "rounds", "ORDER BY round_id DESC LIMIT ?", (_RECENT,))
        known = [row[0] for row in rows if row[0] is not None]
        return float(median(known)) if known else 0.0

    def submit_window(self) -> int | None:
        """Return the median seconds from the start of a training to the submit deadline, over the last rounds.

        Return None if no training has started yet.
        """
        rest = "AND submit_window IS NOT NULL ORDER BY round_id DESC LIMIT ?"
        rows = self.select("submit_window", "rounds", rest, (_RECENT,))
        return int(median(row[0] for row in rows)) if rows else None

    @property
    def _key(self) -> Owner:
        """The values to look for in the columns network, program_id and wallet."""
        return self._owner or NOBODY

    def _rounds(self, rest: str, values: Sequence[object]) -> list[RoundRecord]:
        return [self._record(row) for row in self.select(", ".join(self._fields), "rounds", rest, values)]

    def _record(self, row: Sequence[Any]) -> RoundRecord:
        types = tuple(map(type, row))
        if types not in self._sound:  # a journal has few combinations of types
            wrong = next((name for name, kind in zip(self._fields, types, strict=True) if kind not in KINDS[name]), "")
            if wrong:
                raise self.damaged(f"the {wrong} of a row is not valid")
            self._sound.add(types)
        values = dict(zip(self._fields, row, strict=True))
        return RoundRecord(**{**values, "state": self.state(values["state"])})

    def state(self, text: object) -> State:
        """Convert the text in a row's state column to a `State`.

        Raises:
            JournalError: this version of decloud_pl has no such state.
        """
        try:
            return State(text)  # type: ignore[arg-type]
        except ValueError:
            raise self.unknown_state(text) from None

    def unknown_state(self, text: object) -> JournalError:
        """Return the error for a row with a state that this version of decloud_pl does not have."""
        return self.damaged(f"a row has the unknown state {legible(str(text), _LONGEST_STATE)!r}")

    def damaged(self, what: str) -> JournalError:
        """Return the error for content that is not valid; ``what`` completes "… cannot be read: …"."""
        return JournalError(
            f"The journal {self.path} cannot be read: {what}.",
            fix="The file was not changed. Use the version of decloud_pl that wrote it, or restore it from a copy.",
        )

    def _transitions(self, table: str, rest: str, values: Sequence[object]) -> list[Transition]:
        rows = self.select("at, state, reason, round_id", table, rest, values)
        if not all(isinstance(at, (int, float)) and isinstance(reason, str) for at, _, reason, _ in rows):
            raise self.damaged("a row of transitions is damaged")
        return [Transition(at, self.state(state), reason, round_id) for at, state, reason, round_id in rows]

    def select(self, columns: str, table: str, rest: str = "", values: Sequence[object] = ()) -> list[Any]:
        """Query the owner's rows in a table."""
        return self.ask(f"SELECT {columns} FROM {table} WHERE {_OWNED} {rest}", (*self._key, *values))  # noqa: S608

    def findings(self, columns: str, table: str, rest: str = "", values: Sequence[object] = ()) -> list[Any]:
        """Query the rows of a table for the owner's network and program. Return [] if the journal lacks the table."""
        if not self.ask("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)):
            return []
        where = "network = ? AND program_id = ?"
        return self.ask(f"SELECT {columns} FROM {table} WHERE {where} {rest}", (*self._key[:2], *values))  # noqa: S608

    def ask(self, question: str, values: Sequence[object] = ()) -> list[Any]:
        """Run a query and return its rows.

        Raises:
            JournalError: the file cannot be read, or the queried part is damaged.
        """
        try:
            return self._db.execute(question, values).fetchall()
        except sqlite3.Error as error:
            raise JournalError(
                f"The journal {self.path} cannot be read: {error}.",
                fix="The file was not changed. Try again, or restore it from a copy.",
            ) from error


def conditions(
    column: str, *, round_id: int | None = None, text: str = "", before: float | None = None
) -> tuple[str, tuple[object, ...]]:
    """Return conditions to append to a ``WHERE`` clause, and their values.

    The conditions filter by round, by text in ``column`` and by time.
    """
    where = ""
    values: list[object] = []
    for condition, value in (("round_id = ?", round_id), ("at < ?", before)):
        if value is not None:
            where += f" AND {condition}"
            values.append(value)
    if text:
        where += f" AND {column} LIKE ? ESCAPE char(92)"
        values.append(_pattern(text))
    return where, tuple(values)


def _round_of(key: str) -> int | None:
    """Return the round in the key of a transaction, such as ``join:7`` or ``check:7:TRAINING``."""
    number = key.partition(":")[2].partition(":")[0]
    return int(number) if number.isdigit() else None


def midnight(now: float) -> float:
    """Return when the day of ``now`` began in this machine's time zone. Both times are in Unix seconds."""
    local = datetime.fromtimestamp(now, tz=UTC).astimezone()
    return local.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()


def _matching(states: Sequence[str], text: str) -> tuple[str, tuple[object, ...]]:
    where = f"AND state IN ({_marks(states)})" if states else ""
    if text:
        where += f" AND ({' OR '.join(f'{name} LIKE ? ESCAPE char(92)' for name in _SEARCHED)})"
    return where, (*states, *([_pattern(text)] * len(_SEARCHED) if text else ()))


def _pattern(text: str) -> str:
    """Return the pattern for ``LIKE ? ESCAPE char(92)`` that matches every value that contains ``text``."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" for _ in values)
