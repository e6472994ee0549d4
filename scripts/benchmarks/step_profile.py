"""Where the time of a training step goes."""

from __future__ import annotations

import our_fit
from torch.profiler import ProfilerActivity, profile

from decloud_pl.train.fit.setup import FitSetup

_ROWS = 10


def shares(made: FitSetup) -> dict[str, float]:
    """Return the operations that take most of a fit's own CPU time, as shares of all operations."""
    with profile(activities=[ProfilerActivity.CPU]) as watched:
        our_fit.fit(made)
    averages = watched.key_averages()
    whole = sum(one.self_cpu_time_total for one in averages)
    longest = sorted(averages, key=lambda one: -one.self_cpu_time_total)[:_ROWS]
    return {one.key: round(one.self_cpu_time_total / whole, 3) for one in longest}
