"""What each page shows, read anew for each request."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decloud_pl.dashboard.system import LoadSampler
from decloud_pl.journal.reader import JournalReader, midnight
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.journal.schema import JOURNAL_FILE
from decloud_pl.observers.activity_reader import ActivityReader, log
from decloud_pl.observers.plots import accuracies
from decloud_pl.observers.reports import METRICS_FILE, REPORTS_FOLDER, MetricsRow, read_metrics

PAGE_SIZE = 50
_LAST_ENTRIES = 10
_MOST_POINTS = 400
KINDS = (*State, "skipped", "trouble")
GROUPS: Mapping[str, Sequence[str]] = {
    "active": tuple(state for state in State if not state.is_final),
    "earned": (State.CLAIMED,),
    "ended": tuple(state for state in State if state.is_final),
}
"""Names for several states, for the filter."""


@dataclass(frozen=True, slots=True)
class Active:
    """A round at work, with its training's last message; ``seconds_left`` to the next deadline."""

    entry: RoundRecord
    seconds_left: int | None
    last: MetricsRow | None
    loss: float | None
    accuracy: float | None


class Views:
    """Reads one home.

    Args:
        home: the daemon's folder.
        now: Unix seconds.

    ``owner`` is an `Owner.folder`, empty for the one whose rounds changed last. Every method raises `JournalError` for
    a journal that cannot be read.
    """

    def __init__(self, home: Path, *, now: Callable[[], float] = time.time) -> None:
        self._home = home
        self._now = now
        self._load = LoadSampler(home)

    def overview(self, owner: str) -> dict[str, Any]:
        now = self._now()
        with self._open(owner) as (journal, activity):
            active = [
                self._active(journal, activity, entry, now)
                for entry in journal.rounds(states=GROUPS["active"], newest_first=True)
            ]
            charted = active[0].entry.round_id if active else self._last_trained(journal)
            daemon = activity.daemon(now)
            return {
                **self._frame(journal, owner),
                "states": journal.state_counts(),
                "earned_today": journal.earned_since(midnight(now)),
                "earned": journal.earned_since(0),
                "spent": journal.spent_since(0),
                "active": active,
                "charted": charted,
                "entries": log(journal, activity, limit=_LAST_ENTRIES),
                "load": self._load.sample(daemon.pid if daemon is not None and daemon.alive else None),
                "daemon": daemon,
                "silence": None if daemon is None or daemon.heard_at is None else max(0, int(now - daemon.heard_at)),
            }

    def rounds(self, owner: str, *, state: str, text: str, page: int) -> dict[str, Any]:
        states = GROUPS.get(state, (state,) if state else ())
        with self._open(owner) as (journal, _):
            count = journal.count(states=states, text=text)
            pages = max(1, -(-count // PAGE_SIZE))
            page = min(max(1, page), pages)
            entries = journal.rounds(
                states=states, text=text, limit=PAGE_SIZE, offset=(page - 1) * PAGE_SIZE, newest_first=True
            )
            return {
                **self._frame(journal, owner),
                "entries": entries,
                "count": count,
                "page": page,
                "pages": pages,
                "state": state,
                "text": text,
                "groups": list(GROUPS),
                "states": list(State),
            }

    def round(self, owner: str, round_id: int) -> dict[str, Any] | None:
        """None for a round that the journal does not hold."""
        with self._open(owner) as (journal, activity):
            entry = journal.get(round_id)
            if entry is None:
                return None
            metrics = self._metrics(journal, round_id)
            return {
                **self._frame(journal, owner),
                "active": self._active(journal, activity, entry, self._now()),
                "entry": entry,
                "entries": log(journal, activity, round_id=round_id, limit=PAGE_SIZE),
                "has_metrics": bool(metrics),
            }

    def log(self, owner: str, *, round_id: int | None, kind: str, text: str, before: float | None) -> dict[str, Any]:
        with self._open(owner) as (journal, activity):
            entries = log(
                journal,
                activity,
                round_id=round_id,
                kinds=(kind,) if kind else (),
                text=text,
                before=before,
                limit=PAGE_SIZE + 1,
            )
            return {
                **self._frame(journal, owner),
                "entries": entries[:PAGE_SIZE],
                "older": entries[PAGE_SIZE - 1].at if len(entries) > PAGE_SIZE else None,
                "round_id": round_id,
                "kind": kind,
                "text": text,
                "before": before,
                "kinds": KINDS,
            }

    def skipped(self, owner: str, *, before: float | None) -> dict[str, Any]:
        with self._open(owner) as (journal, activity):
            entries = log(journal, activity, kinds=("skipped",), before=before, limit=PAGE_SIZE + 1)
            return {
                **self._frame(journal, owner),
                "reasons": activity.skip_reasons(),
                "entries": entries[:PAGE_SIZE],
                "older": entries[PAGE_SIZE - 1].at if len(entries) > PAGE_SIZE else None,
                "before": before,
            }

    def earnings(self, owner: str) -> dict[str, list[float]]:
        """Lamports claimed, summed up over time, at most some hundred points."""
        with self._open(owner) as (journal, _):
            claims = journal.claims()
        total, points = 0, []
        for at, lamports in claims:
            total += lamports
            points.append((at, total))
        return {"x": [at for at, _ in thinned(points)], "lamports": [value for _, value in thinned(points)]}

    def curves(self, owner: str, round_id: int) -> dict[str, list[list[float]]]:
        """(step, loss) and (step, accuracy 0 to 1) of a training."""
        with self._open(owner) as (journal, _):
            metrics = self._metrics(journal, round_id)
        losses = [(metric.step, metric.loss) for metric in metrics if metric.loss is not None]
        return {
            "loss": [list(point) for point in thinned(losses)],
            "accuracy": [list(point) for point in thinned(accuracies(metrics))],
        }

    @contextmanager
    def _open(self, owner: str) -> Iterator[tuple[JournalReader, ActivityReader]]:
        path, chosen = self._home / JOURNAL_FILE, None
        if owner:
            with JournalReader(path) as journal:
                chosen = next((known for known in journal.owners() if known.folder == owner), None)
        with JournalReader(path, chosen) as journal, ActivityReader(self._home, journal.owner) as activity:
            yield journal, activity

    def _frame(self, journal: JournalReader, owner: str) -> dict[str, Any]:
        """What every page needs."""
        return {
            "shown_owner": journal.owner,
            "owners": journal.owners(),
            "owner": owner,
            "home": str(self._home),
            "now": self._now(),
        }

    def _metrics(self, journal: JournalReader, round_id: int) -> list[MetricsRow]:
        if journal.owner is None:
            return []
        return read_metrics(self._home / REPORTS_FOLDER / journal.owner.folder / str(round_id) / METRICS_FILE)

    def _active(self, journal: JournalReader, activity: ActivityReader, entry: RoundRecord, now: float) -> Active:
        metrics = self._metrics(journal, entry.round_id)
        deadline = activity.deadlines().get(entry.round_id)
        fits = [metric for metric in metrics if metric.stage == "fit" and metric.total_steps]
        measured = [metric.accuracy for metric in metrics if metric.accuracy is not None]
        losses = [metric.loss for metric in metrics if metric.loss is not None]
        return Active(
            entry,
            None if deadline is None or entry.state.is_final else int(deadline - now),
            fits[-1] if fits else None,
            losses[-1] if losses else None,
            measured[-1] if measured else entry.accuracy_before,
        )

    def _last_trained(self, journal: JournalReader) -> int | None:
        for entry in journal.rounds(newest_first=True, limit=_LAST_ENTRIES):
            if self._metrics(journal, entry.round_id):
                return entry.round_id
        return None


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most some hundred of them, the first and the last among them."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    step = (len(points) - 1) / (_MOST_POINTS - 1)
    return [points[round(index * step)] for index in range(_MOST_POINTS)]
