"""Reads the activity file beside a journal: what the daemon says of itself, and what it left out and why."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from decloud_pl.journal.owner import Scope
from decloud_pl.observers.activity import ACTIVITY_FILE

_TIMEOUT = 2.0
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_DEAD_AFTER = 15.0
"""Seconds without a beat after which a daemon counts as ended: its process number may be another's by now."""
_STATUS = (
    "SELECT pid, started_at, stopped_at, beat_at, heard_at, balance, rpc_requests, rpc_errors, publish_failures, facts"
    " FROM daemons"
)

Conditions = Callable[[str, "str | None"], "tuple[str, tuple[object, ...]]"]
"""Makes the further conditions of a question about one table, whose columns with words are given."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log: a change of state, a skipped round or a trouble (``kind``)."""

    at: float
    kind: str
    round_id: int | None
    text: str


@dataclass(frozen=True, slots=True)
class DaemonStatus:
    """How a daemon was when it last said so; ``alive`` is whether it still is."""

    alive: bool
    pid: int
    started_at: float
    beat_at: float
    heard_at: float | None
    balance: int | None
    rpc_requests: int
    rpc_errors: int
    publish_failures: int
    facts: dict[str, str] = field(default_factory=dict)


class ActivityReader:
    """One look at a home's activity file. It only adds to the journal: what cannot be read is left out.

    Args:
        home: the folder of the daemon.
    """

    def __init__(self, home: Path) -> None:
        self._file: sqlite3.Connection | None = None
        with contextlib.suppress(sqlite3.Error):
            self._file = connect(home / ACTIVITY_FILE)
            if self._file is not None and not columns_of(self._file, "daemons"):
                self.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None

    def entries(self, scope: Scope, conditions: Conditions, kinds: Sequence[str], limit: int) -> list[Entry]:
        """Skipped rounds and troubles, as far as ``kinds`` asks for them; everything where it is empty."""
        found: list[Entry] = []
        for kind, table, column in (("skipped", "skips", "reason"), ("trouble", "troubles", "message")):
            if kinds and kind not in kinds:
                continue
            where, more = conditions(column, None)
            found += (
                Entry(at, kind, number, words)
                for at, number, words in self._ask(
                    f"SELECT at, round_id, {column} FROM {table} WHERE scope = ? {where} ORDER BY at DESC LIMIT ?",  # noqa: S608
                    (scope.folder, *more, limit),
                )
            )
        return found

    def skip_reasons(self, scope: Scope) -> list[tuple[str, int]]:
        """Why rounds were skipped and how many for each reason, the commonest first; … for numbers."""
        counts: Counter[str] = Counter()
        for reason, count in self._ask(
            "SELECT reason, COUNT(*) FROM skips WHERE scope = ? GROUP BY reason", (scope.folder,)
        ):
            counts[_NUMBER.sub("…", reason)] += count
        return counts.most_common()

    def deadlines(self, scope: Scope) -> dict[int, float]:
        """The next deadline of rounds at work, in Unix seconds of this machine."""
        return dict(self._ask("SELECT round_id, deadline FROM deadlines WHERE scope = ?", (scope.folder,)))

    def daemon(self, scope: Scope | None, now: float) -> DaemonStatus | None:
        """How the daemon of a scope is, or the one that said something last; None when it has left no word."""
        if scope is None:
            rows = self._ask(_STATUS + " ORDER BY beat_at DESC LIMIT 1", ())
        else:
            rows = self._ask(_STATUS + " WHERE scope = ?", (scope.folder,))
        if not rows:
            return None
        pid, started, stopped, beat, heard, balance, requests, errors, failures, facts = rows[0]
        alive = stopped is None and now - beat < _DEAD_AFTER and _is_running(pid)
        return DaemonStatus(alive, pid, started, beat, heard, balance, requests, errors, failures, _facts(facts))

    def _ask(self, question: str, values: Sequence[object]) -> list[Any]:
        if self._file is None:
            return []
        try:
            return self._file.execute(question, values).fetchall()
        except sqlite3.Error:
            return []


def connect(path: Path) -> sqlite3.Connection | None:
    """A connection that cannot write, None where there is no file."""
    if not path.is_file():
        return None
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=_TIMEOUT)


def columns_of(connection: sqlite3.Connection, table: str) -> frozenset[str]:
    """The columns of a table, none where there is no such table."""
    return frozenset(row[1] for row in connection.execute(f"PRAGMA table_info({table})"))


def like(text: str) -> str:
    """The pattern of ``LIKE … ESCAPE char(92)`` for columns that hold a text."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def conditions(round_id: int | None, text: str, before: float | None) -> Conditions:
    """For entries of a round, that hold a text, from before a time."""

    def build(column: str, second: str | None) -> tuple[str, tuple[object, ...]]:
        where = ""
        values: list[object] = []
        if round_id is not None:
            where += " AND round_id = ?"
            values.append(round_id)
        if text:
            columns = [column, *([second] if second else [])]
            where += f" AND ({' OR '.join(f'{name} LIKE ? ESCAPE char(92)' for name in columns)})"
            values += [like(text)] * len(columns)
        if before is not None:
            where += " AND at < ?"
            values.append(before)
        return where, tuple(values)

    return build


def _facts(text: str) -> dict[str, str]:
    try:
        facts = json.loads(text)
    except ValueError:
        return {}
    return {str(name): str(value) for name, value in facts.items()} if isinstance(facts, dict) else {}


def _is_running(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
