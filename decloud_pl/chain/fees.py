"""Limits for the fees of a transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from decloud_pl.ranges import ONE_OR_MORE, ZERO_OR_MORE


@dataclass
class FeeLimits:
    """Limits for the fees and the compute units of one transaction.

    Attributes:
        max_priority_lamports: the largest priority fee, in lamports.
        max_compute_units: the largest number of compute units to reserve.
    """

    max_priority_lamports: Annotated[int, ZERO_OR_MORE] = 100_000
    max_compute_units: Annotated[int, ONE_OR_MORE] = 1_400_000
