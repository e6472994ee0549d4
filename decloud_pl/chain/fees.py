"""What a transaction may cost. Imports nothing, so that the settings can."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class FeeLimits:
    """The most that one transaction asks for.

    Attributes:
        max_priority_lamports: what it pays for priority.
        max_compute_units: the compute units that it reserves.
    """

    max_priority_lamports: int = 100_000
    max_compute_units: int = 1_400_000
