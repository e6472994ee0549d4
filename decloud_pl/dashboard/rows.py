"""The columns of the tables, and the rows for rounds and events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from decloud_pl.dashboard.formats import number, percent, points, shares, size, sol, span, stamp
from decloud_pl.dashboard.frame import Frame
from decloud_pl.dashboard.tables import Cell, Column, Row
from decloud_pl.dashboard.views import Active
from decloud_pl.journal.record import RoundRecord
from decloud_pl.journal.track_record import TrackRecord
from decloud_pl.observers.activity_reader import LogEntry

CODES = ("Base model", "Update", "Join transaction", "Submit transaction", "Claim transaction")
"""The names of the `details` that have a monospaced font: CIDs and signatures."""
LOG_COLUMNS = (
    Column("at", "Time", classes="moment"),
    Column("round", "Round"),
    Column("kind", "Event"),
    Column("text", "Details", classes="words"),
)
ACTIVE_COLUMNS = (
    Column("round", "Round"),
    Column("state", "State"),
    Column("left", "Time left"),
    Column("progress", "Progress"),
    Column("loss", "Loss"),
    Column("accuracy", "Accuracy"),
    Column("reward", "Reward"),
)
ROUND_COLUMNS = (
    Column("round_id", "Round", sortable=True),
    Column("state", "State", sortable=True),
    Column("updated_at", "Last change", sortable=True),
    Column("dataset", "Data set", sortable=True),
    Column("accuracy_after", "Accuracy", sortable=True),
    Column("gain", "Gain, points", sortable=True),
    Column("contribution_bps", "Share", sortable=True),
    Column("earned", "Earned", sortable=True),
    Column("reason", "Reason", sortable=True, classes="words"),
)
SKIP_COLUMNS = (
    Column("at", "Time", sortable=True, classes="moment"),
    Column("round_id", "Round", sortable=True),
    Column("text", "Reason", sortable=True, classes="words"),
)
REASON_COLUMNS = (
    Column("count", "Rounds"),
    Column("reason", "Reason", classes="words"),
)

VALIDATOR_COLUMNS = (
    Column("address", "Validator", classes="words mono"),
    Column("completed", "Completed"),
    Column("abandoned", "Abandoned"),
    Column("scoring", "Time to score"),
    Column("convention", "Convention"),
    Column("shares", "Shares"),
    Column("last", "Latest round", classes="moment"),
)
CREATOR_COLUMNS = (
    Column("address", "Creator", classes="words mono"),
    Column("completed", "Completed"),
    Column("abandoned", "Abandoned"),
    Column("refused", "Base models refused"),
    Column("last", "Latest round", classes="moment"),
)


def _row(key: object, **cells: str | Cell) -> Row:
    return Row(key, {name: Cell(cell) if isinstance(cell, str) else cell for name, cell in cells.items()})


def active_row(row: Active, frame: Frame) -> Row:
    entry, last = row.entry, row.last
    progress = Cell(entry.reason or "–")
    if entry.state == "training" and last is not None:
        share = last.step / last.total_steps
        label = f"Training of round {entry.round_id}"
        progress = Cell(f"{last.step}/{last.total_steps}", share=share, label=label)
    return _row(
        entry.round_id,
        round=_round_link(entry.round_id, frame),
        state=Cell(entry.state, state=entry.state),
        left=span(row.seconds_left),
        progress=progress,
        loss=number(row.loss),
        accuracy=percent(row.accuracy),
        reward=sol(entry.reward_amount),
    )


def reason_row(reason: str, count: int) -> Row:
    return _row(reason, count=str(count), reason=reason)


def skip_row(entry: LogEntry) -> Row:
    return _row(entry.round_id, at=stamp(entry.at), round_id=str(entry.round_id), text=entry.text)


def round_row(entry: RoundRecord, frame: Frame) -> Row:
    bps = entry.contribution_bps
    return _row(
        entry.round_id,
        round_id=_round_link(entry.round_id, frame),
        state=Cell(entry.state, state=entry.state),
        updated_at=stamp(entry.updated_at),
        dataset=entry.dataset or "–",
        accuracy_after=percent(entry.accuracy_after),
        gain=points(entry.gain),
        contribution_bps=f"{bps / 100:g} %" if bps is not None else "–",
        earned=sol(entry.earned) if entry.state.is_final else "–",
        reason=entry.reason or "–",
    )


def validator_row(record: TrackRecord) -> Row:
    return _row(
        record.address,
        address=record.address,
        completed=str(record.completed),
        abandoned=str(record.abandoned),
        scoring=span(record.scoring_seconds),
        convention=record.convention or "–",
        shares=shares(record),
        last=stamp(record.last_at),
    )


def creator_row(record: TrackRecord) -> Row:
    return _row(
        record.address,
        address=record.address,
        completed=str(record.completed),
        abandoned=str(record.abandoned),
        refused=str(record.refused),
        last=stamp(record.last_at),
    )


def log_rows(entries: Sequence[LogEntry], frame: Frame) -> list[Row]:
    """Return the rows for log entries. Rows of equal time, kind and round get different keys."""
    seen: Counter[object] = Counter()
    rows = []
    for entry in entries:
        same = (entry.at, entry.kind, entry.round_id)
        seen[same] += 1
        number_ = Cell("–" if entry.round_id is None else str(entry.round_id))
        if entry.round_id is not None and entry.kind != "skipped":
            number_ = _round_link(entry.round_id, frame)
        kind = Cell(entry.kind, state=entry.kind)
        rows.append(_row((same, seen[same]), at=stamp(entry.at), round=number_, kind=kind, text=entry.text or "–"))
    return rows


def _round_link(round_id: int, frame: Frame) -> Cell:
    return Cell(str(round_id), href=frame.link(f"/rounds/{round_id}"))


def details(entry: RoundRecord) -> dict[str, str]:
    trained = entry.resolved_dataset
    return {
        "Data set": (entry.dataset or "–")
        + (f", trained on {trained}" if trained and trained != entry.dataset else ""),
        "Base model": entry.model_cid or "–",
        "Update": entry.pinned_cid or entry.update_cid or "–",
        "Join transaction": entry.join_signature or "–",
        "Submit transaction": entry.submit_signature or "–",
        "Claim transaction": entry.claim_signature or "–",
        "Validator": entry.validator or "–",
        "Convention": f"{entry.convention}, because {entry.convention_why}" if entry.convention else "–",
        "Update size": size(entry.update_size),
        "Last change": stamp(entry.updated_at),
    }
