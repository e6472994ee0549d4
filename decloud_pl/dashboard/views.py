"""The data of each page, read from the journal at each call. No other module of the dashboard reads the journal."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from decloud_pl.dashboard.formats import short
from decloud_pl.dashboard.system import Load, LoadSampler
from decloud_pl.journal.audits import Audit, audit_of
from decloud_pl.journal.reader import ORDERS, JournalReader, midnight
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.journal.schema import JOURNAL_FILE
from decloud_pl.journal.track_record import TrackRecord, latest_network, track_records
from decloud_pl.observers.activity_reader import ActivityReader, DaemonStatus, LogEntry, log
from decloud_pl.observers.plots import accuracies, losses
from decloud_pl.observers.reports import METRICS_FILE, REPORTS_FOLDER, MetricsRow, read_metrics

PAGE_SIZE = 50
_LAST_ENTRIES = 10
_MOST_POINTS = 400
_MOST_SKIPS = 20_000
STATES = tuple(state.value for state in State)
KINDS = (*STATES, "skipped", "trouble")
GROUPS: Mapping[str, Sequence[str]] = {
    "active": tuple(state.value for state in State if not state.is_final),
    "earned": (State.CLAIMED.value,),
    "ended": tuple(state.value for state in State if state.is_final),
}
"""Names of several states, for the filter."""

Points = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Header:
    """The data of every page's header and footer.

    ``wallets`` maps the name of each wallet's folder to the wallet's label. ``chosen`` is the name of the chosen
    wallet's folder. ``wallet`` is the address of the chosen wallet; None if the journal has no wallet.
    """

    home: str
    wallets: Mapping[str, str]
    chosen: str
    wallet: str | None


@dataclass(frozen=True, slots=True)
class Curves:
    """The curves of loss and accuracy (0 to 1) of a training: points (optimizer step, value), empty without data."""

    round_id: int | None
    loss: Points
    accuracy: Points


@dataclass(frozen=True, slots=True)
class Active:
    """A round with the last metrics of its training, and the seconds until its next deadline."""

    entry: RoundRecord
    seconds_left: int | None
    last: MetricsRow | None
    loss: float | None
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class Overview:
    """The data of the overview page. Amounts are in lamports.

    ``active`` has at most `PAGE_SIZE` rounds: trainings first, then the newest. ``more_active`` is the number of the
    others. ``silence`` is the number of seconds since the last contact with the chain. ``earnings`` is a curve: points
    (Unix seconds, sum of the rewards up to that time).
    """

    states: Mapping[State, int]
    earned_today: int
    earned: int
    spent: int | None
    active: list[Active]
    more_active: int
    entries: list[LogEntry]
    load: Load
    daemon: DaemonStatus | None
    silence: int | None
    curves: Curves
    earnings: Points


@dataclass(frozen=True, slots=True)
class Rounds:
    """One page of the rounds that match a filter. ``count`` is the number of rounds on all pages."""

    entries: list[RoundRecord]
    count: int
    page: int


@dataclass(frozen=True, slots=True)
class OneRound:
    """A round of the wallet.

    ``audit`` is the audit of the round, or None. It has shares only if they are the wallet's.
    """

    active: Active
    entries: list[LogEntry]
    curves: Curves
    audit: Audit | None


@dataclass(frozen=True, slots=True)
class Log:
    """One page of log entries, latest first.

    ``older`` is the time to pass as ``before`` to `Views.log` to get the next page, which has older entries. It is None
    if this page has the oldest entry.
    """

    entries: list[LogEntry]
    older: float | None


@dataclass(frozen=True, slots=True)
class Skips:
    """One page of skipped rounds, and the reasons, each with the number of rounds that were skipped for it.

    ``count`` is the number of skipped rounds on all pages.
    """

    reasons: list[tuple[str, int]]
    entries: list[LogEntry]
    count: int
    page: int


@dataclass(frozen=True, slots=True)
class TrackRecords:
    """The track records of the validators and creators with the most rounds."""

    validators: list[TrackRecord]
    creators: list[TrackRecord]


class Views:
    """Reads the data of one home folder.

    Every method raises `JournalError` if the journal cannot be read. The argument ``owner`` is the name of a wallet's
    folder. If the name is empty or unknown, the methods use the wallet whose rounds changed last.

    Args:
        home: the daemon's home folder.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._load = LoadSampler(home)

    def frame(self, owner: str) -> Header:
        with self._open(owner) as (journal, _):
            names = {
                known.folder: f"{short(known.wallet)} · {short(known.network or known.program_id)}"
                for known in journal.owners()
            }
            chosen = journal.owner
        return Header(
            str(self._home), names, chosen.folder if chosen else "", chosen.wallet if chosen is not None else None
        )

    def overview(self, owner: str) -> Overview:
        now = time.time()
        with self._open(owner) as (journal, activity):
            waiting = [state for state in GROUPS["active"] if state != State.TRAINING]
            working = [
                entry
                for states in ((State.TRAINING,), waiting)
                for entry in journal.rounds(states=states, limit=PAGE_SIZE, descending=True)
            ][:PAGE_SIZE]
            deadlines = activity.deadlines()
            active = [self._active(journal, deadlines, entry, now) for entry in working]
            charted = active[0].entry.round_id if active else self._last_trained(journal)
            daemon = activity.daemon(now)
            return Overview(
                states=journal.state_counts(),
                earned_today=journal.earned_since(midnight(now)),
                earned=journal.earned_since(0),
                spent=journal.spent_since(0),
                active=active,
                more_active=journal.count(states=GROUPS["active"]) - len(active),
                entries=log(journal, activity, limit=_LAST_ENTRIES),
                load=self._load.sample(daemon.pid if daemon is not None and daemon.alive else None),
                daemon=daemon,
                silence=None if daemon is None or daemon.heard_at is None else max(0, int(now - daemon.heard_at)),
                curves=self._curves(journal, charted),
                earnings=_summed(journal.claims()),
            )

    def rounds(self, owner: str, *, state: str, text: str, page: int, order: str, descending: bool) -> Rounds:
        """Return one page of the rounds in ``state`` whose number, data set, reason or CIDs contain ``text``.

        ``state`` is a state or a key of `GROUPS`. An empty ``state`` or ``text`` matches every round. ``order`` is a
        key of `ORDERS`; for any other value, the rounds are sorted by number.
        """
        states = GROUPS.get(state, (state,) if state else ())
        with self._open(owner) as (journal, _):
            count = journal.count(states=states, text=text)
            page = _within(page, count)
            entries = journal.rounds(
                states=states,
                text=text,
                limit=PAGE_SIZE,
                offset=(page - 1) * PAGE_SIZE,
                order=order if order in ORDERS else "round_id",
                descending=descending,
            )
            return Rounds(entries, count, page)

    def round(self, owner: str, round_id: int) -> OneRound | None:
        """Return a round, or None if the journal does not contain it."""
        with self._open(owner) as (journal, activity):
            entry = journal.get(round_id)
            if entry is None:
                return None
            return OneRound(
                active=self._active(journal, activity.deadlines(), entry, time.time()),
                entries=log(journal, activity, round_id=round_id, limit=PAGE_SIZE),
                curves=self._curves(journal, round_id),
                audit=_audit(journal, round_id),
            )

    def log(self, owner: str, *, round_id: int | None, kind: str, text: str, before: float | None) -> Log:
        kinds = (kind,) if kind else ()
        with self._open(owner) as (journal, activity):
            entries = log(
                journal, activity, round_id=round_id, kinds=kinds, text=text, before=before, limit=PAGE_SIZE + 1
            )
            if len(entries) <= PAGE_SIZE:
                return Log(entries, None)
            # The next page begins before a time, so entries with the same time must be on the same page.
            page = [entry for entry in entries if entry.at > entries[PAGE_SIZE].at] or entries[:PAGE_SIZE]
            return Log(page, page[-1].at)

    def skipped(self, owner: str, *, text: str, page: int, order: str, descending: bool) -> Skips:
        """Return one page of skipped rounds, sorted by ``at``, ``round_id`` or ``text``.

        The daemon keeps about the latest 10,000 skipped rounds.
        """
        with self._open(owner) as (journal, activity):
            entries = log(journal, activity, kinds=("skipped",), text=text, limit=_MOST_SKIPS)
            reasons = activity.skip_reasons()
        if order in ("round_id", "text"):
            entries.sort(key=lambda entry: getattr(entry, order) or 0, reverse=descending)
        elif not descending:
            entries.reverse()
        page = _within(page, len(entries))
        return Skips(reasons, entries[(page - 1) * PAGE_SIZE : page * PAGE_SIZE], len(entries), page)

    def track_records(self, owner: str) -> TrackRecords:
        """Return the track records on the wallet's network. Without a wallet, use the network of the latest round."""
        with self._open(owner) as (journal, _):
            network = journal.owner
        path = self._home / JOURNAL_FILE
        with JournalReader(path, network or latest_network(path)) as journal:
            return TrackRecords(
                track_records(journal, "validator")[:PAGE_SIZE], track_records(journal, "creator")[:PAGE_SIZE]
            )

    @contextmanager
    def _open(self, owner: str) -> Iterator[tuple[JournalReader, ActivityReader]]:
        path, chosen = self._home / JOURNAL_FILE, None
        if owner:
            with JournalReader(path) as journal:
                chosen = next((known for known in journal.owners() if known.folder == owner), None)
        with JournalReader(path, chosen) as journal, ActivityReader(self._home, journal.owner) as activity:
            yield journal, activity

    def _curves(self, journal: JournalReader, round_id: int | None) -> Curves:
        if round_id is None:
            return Curves(None, [], [])
        metrics = self._metrics(journal, round_id)
        return Curves(round_id, thinned(losses(metrics)), thinned(accuracies(metrics)))

    def _metrics(self, journal: JournalReader, round_id: int) -> list[MetricsRow]:
        if journal.owner is None:
            return []
        return read_metrics(self._home / REPORTS_FOLDER / journal.owner.folder / str(round_id) / METRICS_FILE)

    def _active(self, journal: JournalReader, deadlines: Mapping[int, float], entry: RoundRecord, now: float) -> Active:
        metrics = self._metrics(journal, entry.round_id)
        deadline = deadlines.get(entry.round_id)
        fits = [metric for metric in metrics if metric.stage == "fit" and metric.total_steps]
        measured = [metric.accuracy for metric in metrics if metric.accuracy is not None]
        fit_losses = losses(metrics)
        return Active(
            entry,
            None if deadline is None or entry.state.is_final else int(deadline - now),
            fits[-1] if fits else None,
            fit_losses[-1][1] if fit_losses else None,
            measured[-1] if measured else entry.accuracy_before,
        )

    def _last_trained(self, journal: JournalReader) -> int | None:
        for entry in journal.rounds(descending=True, limit=_LAST_ENTRIES):
            if self._metrics(journal, entry.round_id):
                return entry.round_id
        return None


def _audit(journal: JournalReader, round_id: int) -> Audit | None:
    audit = audit_of(journal, round_id)
    return audit if audit is None or journal.owner is None else audit.for_wallet(journal.owner.wallet)


def thinned(points: Sequence[tuple[float, float]]) -> Points:
    """Return at most 400 of the points, including the first and the last."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    step = (len(points) - 1) / (_MOST_POINTS - 1)
    return [points[round(index * step)] for index in range(_MOST_POINTS)]


def _summed(claims: Sequence[tuple[float, int]]) -> Points:
    total, points = 0, []
    for at, lamports in claims:
        total += lamports
        points.append((at, float(total)))
    return thinned(points)


def _within(page: int, count: int) -> int:
    """Limit ``page`` to the existing page numbers. ``count`` is the number of rows on all pages together."""
    return min(max(1, page), max(1, -(-count // PAGE_SIZE)))
