"""Format numbers and times for the pages."""

from __future__ import annotations

from datetime import UTC, datetime

from decloud_pl.domain import format_sol
from decloud_pl.journal.track_record import TrackRecord

_NOTHING = "–"


def sol(lamports: int | None) -> str:
    return _NOTHING if lamports is None else format_sol(lamports)


def percent(share: float | None) -> str:
    """Format a share from 0 to 1 as a percentage."""
    return _NOTHING if share is None else f"{share * 100:.1f} %"


def points(gain: float | None) -> str:
    """Format a difference of two shares in percentage points, with its sign."""
    return _NOTHING if gain is None else f"{gain * 100:+.1f}"


def number(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.3f}"


def stamp(at: float | None) -> str:
    """Format Unix seconds as local date and time."""
    return _NOTHING if at is None else datetime.fromtimestamp(at, tz=UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def span(seconds: float | None) -> str:
    """Format a duration as ``59 s``, ``3 min 20 s`` or ``2 h 5 min``, and a negative one as ``past``."""
    if seconds is None:
        return _NOTHING
    if seconds < 0:
        return "past"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def size(count: float | None) -> str:
    """Format a number of bytes."""
    if count is None:
        return _NOTHING
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def short(text: str | None) -> str:
    """Shorten an address to its first and last six characters."""
    if not text:
        return _NOTHING
    return text if len(text) <= 13 else f"{text[:6]}…{text[-6:]}"


def shares(record: TrackRecord) -> str:
    """Format how many rounds of a validator had fair, equal and unfair shares."""
    counts = (("fair", record.fair), ("equal", record.equal), ("unfair", record.unfair))
    return ", ".join(f"{count} {name}" for name, count in counts if count) or _NOTHING
