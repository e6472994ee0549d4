"""How busy this machine is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_SAMPLE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Load:
    """Shares in per cent, sizes in bytes; of the daemon with its children, None while it does not run."""

    cpu_percent: float
    memory_percent: float
    memory_used: int
    memory_total: int
    disk_percent: float
    disk_free: int
    daemon_memory: int | None
    daemon_processes: int


class LoadSampler:
    """Measures at most once a second: a share of the processor is one of the time since the last look.

    Args:
        home: whose disk counts.
        monotonic: seconds.
    """

    def __init__(self, home: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._home = home
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._at = float("-inf")
        self._last: Load | None = None
        # Not cpu_percent: that remembers for each thread, and pages are made in several.
        self._times = psutil.cpu_times()

    def sample(self, pid: int | None) -> Load:
        """The load now, or as it was less than a second ago."""
        with self._lock:
            now = self._monotonic()
            if self._last is None or now - self._at >= _SAMPLE_SECONDS:
                times = psutil.cpu_times()
                self._last = _load(self._home, pid, busy_percent(self._times, times))
                self._times, self._at = times, now
            return self._last


def busy_percent(before: Sequence[float], after: Sequence[float]) -> float:
    """The processors' share that was not idle between two readings of their times."""
    spent = dict(zip(after._fields, (b - a for a, b in zip(before, after, strict=True)), strict=True))  # type: ignore[attr-defined]
    # A guest's time is also counted as its user's.
    whole = sum(seconds for name, seconds in spent.items() if not name.startswith("guest"))
    idle = spent["idle"] + spent.get("iowait", 0.0)
    return 100 * min(1.0, max(0.0, 1 - idle / whole)) if whole > 0 else 0.0


def _load(home: Path, pid: int | None, cpu_percent: float) -> Load:
    memory = psutil.virtual_memory()
    disk = psutil.disk_usage(str(next(path for path in (home, *home.parents) if path.exists())))
    resident, processes = _family(pid)
    return Load(
        cpu_percent=cpu_percent,
        memory_percent=memory.percent,
        memory_used=memory.total - memory.available,
        memory_total=memory.total,
        disk_percent=disk.percent,
        disk_free=disk.free,
        daemon_memory=resident,
        daemon_processes=processes,
    )


def _family(pid: int | None) -> tuple[int | None, int]:
    """Resident memory and number of a process and its descendants."""
    if pid is None:
        return None, 0
    resident, count = 0, 0
    try:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            try:
                resident += process.memory_info().rss
                count += 1
            except psutil.Error:
                continue  # it has ended since
    except psutil.Error:
        return None, 0
    return resident, count
