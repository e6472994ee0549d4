"""With many rounds, faults and accounts, all rewards are claimed, no resource leaks, and no cost grows over time."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from tests.harness.scale import join_latencies, scale
from tests.harness.soak import soak


async def test_a_hundred_rounds_with_faults(tmp_path: Path) -> None:
    """`scripts/bench chain` runs three hundred."""
    shown = await soak(tmp_path, rounds=100, faults=0.01, seconds=120)
    assert (shown.claimed, shown.wrong) == (100, 0), shown
    assert shown.memory_growth < 0.10, shown
    assert (shown.processes, shown.leftovers) == (0, 0), shown
    assert shown.files <= 2, shown  # the journal's files, which SQLite opens on demand


async def test_ten_thousand_rounds(tmp_path: Path) -> None:
    small, large = await scale(tmp_path, [2_000, 10_000])
    assert large.peak_mb < 150, large
    assert large.cpu_seconds < small.cpu_seconds * 5 * 1.5 + 0.2, (small, large)
    assert large.requests == small.requests, (small, large)


async def test_a_join_is_sent_at_once(tmp_path: Path) -> None:
    assert median(await join_latencies(tmp_path, 15)) < 0.3
