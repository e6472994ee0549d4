"""Times for people."""

from __future__ import annotations

from datetime import UTC, datetime

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def until(seconds: int) -> str:
    """``in 9 min`` or ``3 h ago``, in the largest unit that gives one or more."""
    size, unit = next(((size, unit) for size, unit in _UNITS if abs(seconds) >= size), _UNITS[-1])
    count = abs(seconds) // size
    return f"{count} {unit} ago" if seconds < 0 else f"in {count} {unit}"


def clock_time(at: float) -> str:
    """Local date and time of Unix seconds."""
    return datetime.fromtimestamp(at, tz=UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
