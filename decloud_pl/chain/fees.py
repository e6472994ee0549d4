"""What a transaction may cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from decloud_pl.ranges import ONE_OR_MORE, ZERO_OR_MORE


@dataclass
class FeeLimits:
    """The most that one transaction asks for.

    Attributes:
        max_priority_lamports: what it pays for priority.
        max_compute_units: the compute units that it reserves.
    """

    max_priority_lamports: Annotated[int, ZERO_OR_MORE] = 100_000
    max_compute_units: Annotated[int, ONE_OR_MORE] = 1_400_000
