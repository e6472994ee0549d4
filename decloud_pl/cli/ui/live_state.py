"""The state of the daemon's live view, updated by events."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from decloud_pl.cli.ui.report import lines_of
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.rounds.events import (
    Changed,
    Connected,
    DaemonEvent,
    Earnings,
    Looked,
    Noted,
    Skipped,
    Training,
    Trouble,
    Uploading,
)

EVENTS = 8
"""The maximum number of events in the view."""
_STYLES = {State.CLAIMED: "green", State.FAILED: "red", State.MISSED: "red", State.WITHHELD: "yellow"}
_SIGNATURE = re.compile(r" Signature \w+\.")
"""Signatures are too long for a line of the view; the command `status` shows them."""


@dataclass(frozen=True, slots=True)
class ActiveRound:
    """A row of the view, for an unfinished round. ``deadline`` is in Unix seconds of this machine's clock."""

    record: RoundRecord
    deadline: float | None = None
    stage: str = ""
    step: int = 0
    total_steps: int = 0
    loss: float | None = None
    accuracy: float | None = None


@dataclass(slots=True)
class LiveState:
    """The content of the live view.

    Attributes:
        facts: maps the names network, program, preset, filters, rounds, automatic, convention, device and precision to
            the daemon's settings in words.
        events: (Unix time, style, text) of the last events, the oldest first.
        stopping: the message about a requested stop; empty if no stop was requested.
    """

    facts: Mapping[str, str]
    wallet: str = ""
    balance: int | None = None
    earnings: Earnings | None = None
    earnings_at: float = 0.0
    rounds: dict[int, ActiveRound] = field(default_factory=dict)
    events: deque[tuple[float, str, str]] = field(default_factory=lambda: deque(maxlen=EVENTS * 4))
    stopping: str = ""
    _last: dict[int, tuple[State, str]] = field(default_factory=dict)

    def apply(self, event: DaemonEvent, now: float) -> None:
        """Update the state with an event that happened at ``now`` (Unix seconds)."""
        if isinstance(event, Connected):
            self.wallet, self.balance = event.wallet, event.balance
            self._note(now, "", "Connected. Looking for rounds…")
        elif isinstance(event, Looked):
            self.balance = event.balance
            row = self.rounds.get(event.round_id)
            if row is not None:
                left = None if event.deadline is None else now + event.deadline - event.chain_now
                self.rounds[event.round_id] = replace(row, deadline=left)
        elif isinstance(event, Earnings):
            self.earnings, self.earnings_at = event, now
        elif isinstance(event, Skipped):
            self._note(now, "dim", f"Round {event.round_id}: not joined, {event.reason}.")
        elif isinstance(event, (Noted, Trouble)):
            where = "" if event.round_id is None else f"Round {event.round_id}: "
            self._note(now, "yellow" if isinstance(event, Trouble) else "", f"{where}{event.message}")
            if isinstance(event, Noted):
                self.facts = {**self.facts, **event.facts}
        elif isinstance(event, Training):
            if event.note:
                self._note(now, "", f"Round {event.round_id}: {event.note}")
            self._train(event)
        elif isinstance(event, Uploading):
            row = self.rounds.get(event.round_id)
            if row is not None:
                self.rounds[event.round_id] = replace(row, step=event.sent, total_steps=event.total)
        else:
            self._change(event, now)

    def _note(self, now: float, style: str, words: str) -> None:
        self.events.append((now, style, words))

    def _train(self, event: Training) -> None:
        row = self.rounds.get(event.round_id)
        if row is None:
            return
        row = replace(
            row,
            stage=event.stage,
            loss=row.loss if event.loss is None else event.loss,
            accuracy=row.accuracy if event.accuracy is None else event.accuracy,
        )
        if event.total_steps:
            row = replace(row, step=event.step, total_steps=event.total_steps)
        self.rounds[event.round_id] = row

    def _change(self, event: Changed, now: float) -> None:
        record = event.record
        for line in lines_of(record, self._last.get(record.round_id)):
            self._note(now, _STYLES.get(record.state, ""), _SIGNATURE.sub("", line))
        self._last[record.round_id] = (record.state, record.reason)
        if record.state.is_final:
            self.rounds.pop(record.round_id, None)
            return
        row = self.rounds.get(record.round_id) or ActiveRound(record, accuracy=record.accuracy_before)
        if record.accuracy_after is not None:
            row = replace(row, accuracy=record.accuracy_after)
        if record.state in (State.SUBMITTED, State.CLAIMING):
            row = replace(row, deadline=None)
        if record.state is not row.record.state:
            row = replace(row, stage="", step=0, total_steps=0)
        self.rounds[record.round_id] = replace(row, record=record)
