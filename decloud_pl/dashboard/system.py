"""The load of this machine."""

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
    """The load of this machine, with shares in percent and sizes in bytes.

    ``daemon_memory`` includes the daemon's child processes. It is None if no daemon runs.
    """

    cpu_percent: float
    memory_percent: float
    disk_free: int
    daemon_memory: int | None
    daemon_processes: int


class LoadSampler:
    """Measures the load at most once per second. The CPU load is the average since the previous measurement.

    Args:
        home: a folder on the disk to measure.
        monotonic: returns monotonic seconds.
    """

    def __init__(self, home: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._home = home
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._at = float("-inf")
        self._last: Load | None = None
        # Not psutil.cpu_percent, because it keeps its state per thread, and several threads draw pages.
        self._times = psutil.cpu_times()

    def sample(self, pid: int | None) -> Load:
        """Return the load, at most one second old. ``pid`` is the daemon's process id; None if no daemon runs."""
        with self._lock:
            now = self._monotonic()
            if self._last is None or now - self._at >= _SAMPLE_SECONDS:
                times = psutil.cpu_times()
                self._last = _load(self._home, pid, busy_percent(self._times, times))
                self._times, self._at = times, now
            return self._last


def busy_percent(before: Sequence[float], after: Sequence[float]) -> float:
    """Return the percentage of CPU time that was not idle between two results of `psutil.cpu_times`."""
    spent = dict(zip(after._fields, (b - a for a, b in zip(before, after, strict=True)), strict=True))  # type: ignore[attr-defined]
    # The time of a guest is already part of the user time.
    whole = sum(seconds for name, seconds in spent.items() if not name.startswith("guest"))
    idle = spent["idle"] + spent.get("iowait", 0.0)
    return 100 * min(1.0, max(0.0, 1 - idle / whole)) if whole > 0 else 0.0


def _load(home: Path, pid: int | None, cpu_percent: float) -> Load:
    disk = psutil.disk_usage(str(next(path for path in (home, *home.parents) if path.exists())))
    resident, processes = _family(pid)
    return Load(
        cpu_percent=cpu_percent,
        memory_percent=psutil.virtual_memory().percent,
        disk_free=disk.free,
        daemon_memory=resident,
        daemon_processes=processes,
    )


def _family(pid: int | None) -> tuple[int | None, int]:
    """Return the total resident memory of a process and its descendants, and how many processes they are."""
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
                continue  # the process has ended
    except psutil.Error:
        return None, 0
    return resident, count
