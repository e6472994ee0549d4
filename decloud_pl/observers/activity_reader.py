"""Reads the activity file next to the journal: the daemon's state, its troubles, and the rounds that it skipped."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from decloud_pl.journal.owner import Owner
from decloud_pl.journal.reader import JournalReader, conditions
from decloud_pl.journal.schema import connect_read_only
from decloud_pl.observers.activity import ACTIVITY_FILE

_VARYING = re.compile(
    r"""(?<!\w)'[^']*'(?!\w)|(?<!\w)"[^"]*"(?!\w)"""  # quoted text, but no apostrophe inside a word
    r"|[A-Za-z0-9]{32,}"  # CIDs, addresses and signatures
    r"|\d+(?:[.,]\d+)*"
)
"""The parts of a reason that differ from round to round."""
_MOST_REASONS = 50
_OTHER = "other"
_DEAD_AFTER = 15.0
"""Seconds without a heartbeat after which a daemon is considered dead. Another process may have its PID by then."""
_EVENTS = (("skipped", "skips", "reason"), ("trouble", "troubles", "message"))
"""The kind of a log entry, its table, and the column with its text."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line of the log. ``kind`` is ``skipped``, ``trouble``, or the state that a round entered."""

    at: float
    kind: str
    round_id: int | None
    text: str


@dataclass(frozen=True, slots=True)
class DaemonStatus:
    """A daemon's state at its last heartbeat. ``alive`` is True if the daemon still runs."""

    alive: bool
    pid: int
    started_at: float
    heartbeat_at: float
    heard_at: float | None
    balance: int | None
    rpc_requests: int
    rpc_errors: int
    publish_failures: int
    facts: dict[str, str]


class ActivityReader:
    """A context manager that reads the entries of one owner from an activity file.

    The file only supplements the journal, so a missing or damaged file raises no error: the reader returns no entries.

    Args:
        home: the daemon's home folder.
        owner: the owner of the entries; None for the owner whose daemon sent the latest heartbeat.
    """

    def __init__(self, home: Path, owner: Owner | None) -> None:
        self._db: sqlite3.Connection | None = None
        with contextlib.suppress(sqlite3.Error, OSError):
            self._db = connect_read_only(home / ACTIVITY_FILE)
        last = self._ask("SELECT scope FROM daemons ORDER BY beat_at DESC LIMIT 1") if owner is None else []
        self._scope = owner.folder if owner is not None else last[0][0] if last else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._db is not None:
            self._db.close()

    def entries(
        self,
        *,
        kinds: Sequence[str] = (),
        round_id: int | None = None,
        text: str = "",
        before: float | None = None,
        limit: int = -1,
    ) -> list[LogEntry]:
        """Return the skipped rounds, then the troubles, each with the latest first. For the arguments see `log`.

        ``limit`` applies to the skipped rounds and to the troubles separately.
        """
        found: list[LogEntry] = []
        for kind, table, column in _EVENTS:
            if kinds and kind not in kinds:
                continue
            where, values = conditions(column, round_id=round_id, text=text, before=before)
            rows = self._ask(
                f"SELECT at, round_id, {column} FROM {table} WHERE scope = ?{where} ORDER BY at DESC LIMIT ?",  # noqa: S608 (own names)
                (self._scope, *values, limit),
            )
            found += (LogEntry(at, kind, number, words) for at, number, words in rows)
        return found

    def skip_reasons(self) -> list[tuple[str, int]]:
        """Return the 50 most frequent reasons for a skip, each with the number of skipped rounds.

        The most frequent reason is first. All further reasons are counted together, as the reason ``other``.

        Reasons that differ only in numbers, quoted text, CIDs or addresses are counted together, with ``…`` in place of
        each. The limit is necessary because the creators of rounds choose other words in a reason, too.
        """
        counts: Counter[str] = Counter()
        question = "SELECT reason, COUNT(*) FROM skips WHERE scope = ? GROUP BY reason"
        for reason, count in self._ask(question, (self._scope,)):
            counts[_VARYING.sub("…", reason)] += count
        shown = dict(counts.most_common(_MOST_REASONS))
        rest = counts.total() - sum(shown.values())
        if rest:
            shown[_OTHER] = shown.get(_OTHER, 0) + rest
        return list(shown.items())

    def deadlines(self) -> dict[int, float]:
        """Return the next deadline of each round in progress, in Unix seconds of this machine."""
        return dict(self._ask("SELECT round_id, deadline FROM deadlines WHERE scope = ?", (self._scope,)))

    def daemon(self, now: float) -> DaemonStatus | None:
        """Return the state of the daemon; None if it has never written to the file."""
        rows = self._ask(
            "SELECT pid, started_at, stopped_at, beat_at, heard_at, balance, rpc_requests, rpc_errors,"
            " publish_failures, facts FROM daemons WHERE scope = ?",
            (self._scope,),
        )
        if not rows:
            return None
        pid, started, stopped, beat, heard, balance, requests, errors, failures, facts = rows[0]
        alive = stopped is None and now - beat < _DEAD_AFTER and _is_running(pid)
        return DaemonStatus(alive, pid, started, beat, heard, balance, requests, errors, failures, _facts(facts))

    def _ask(self, question: str, values: Sequence[object] = ()) -> list[Any]:
        if self._db is None:
            return []
        try:
            return self._db.execute(question, values).fetchall()
        except sqlite3.Error:
            return []


def log(
    journal: JournalReader,
    activity: ActivityReader,
    *,
    kinds: Sequence[str] = (),
    round_id: int | None = None,
    text: str = "",
    before: float | None = None,
    limit: int = 50,
) -> list[LogEntry]:
    """Return the log entries of the journal and the activity file, the latest first.

    Args:
        journal: the source of the state changes.
        activity: the source of skipped rounds and troubles.
        kinds: round states, ``skipped`` or ``trouble``; all kinds if empty.
        round_id: only entries of this round.
        text: only entries that contain this text.
        before: only entries before this time in Unix seconds, for paging.
        limit: the largest number of entries.
    """
    found = activity.entries(kinds=kinds, round_id=round_id, text=text, before=before, limit=limit)
    states = [kind for kind in kinds if kind not in ("skipped", "trouble")]
    if states or not kinds:
        changes = journal.latest_transitions(round_id=round_id, states=states, text=text, before=before, limit=limit)
        found += (LogEntry(change.at, change.state.value, change.round_id, change.reason) for change in changes)
    return sorted(found, key=lambda entry: entry.at, reverse=True)[:limit]


def _facts(text: object) -> dict[str, str]:
    """Parse `DaemonStatus.facts` from JSON. Return an empty dict if the text is not a JSON object."""
    try:
        facts = json.loads(str(text))
    except (ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _is_running(pid: int) -> bool:
    """Return whether a process with this PID exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
