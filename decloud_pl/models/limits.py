"""Limits for the hyper-parameters of architectures, because a stranger's model package may contain any values."""

from __future__ import annotations

from collections.abc import Mapping

from decloud_pl.legible import legible
from decloud_pl.ranges import Range

_LONGEST_SHOWN = 200
LONGEST_NAME = 80
"""A message shows at most this many characters of a name from a stranger's file."""


Limits = Mapping[str, Range]


def whole(low: int, high: int) -> Range:
    """Return a range that allows the whole numbers from ``low`` to ``high``, both included."""
    return Range(f"a whole number from {low} to {high}", lambda value: type(value) is int and low <= value <= high)


def one_of(*values: int) -> Range:
    """Return a range that allows only these whole numbers."""
    return Range(f"one of {', '.join(map(str, values))}", lambda value: type(value) is int and value in values)


CLASSES = whole(1, 100_000)
SHARE = Range("a number from 0 to less than 1", lambda value: type(value) in (int, float) and 0 <= value < 1)


def complaint(hyper_parameters: Mapping[str, object], limits: Limits) -> str:
    """Return how to correct the first invalid hyper-parameter, without a final period; empty if all are valid."""
    for name, value in hyper_parameters.items():
        if name not in limits:
            return f"Use only the hyper-parameters {', '.join(limits)}"
        if not limits[name].holds(value):
            return f"{name} must be {limits[name].words}"
    return ""


def shown(hyper_parameters: Mapping[str, object]) -> str:
    """Format hyper-parameters for a message, and shorten the text if it is long."""
    return legible(str(dict(hyper_parameters)), _LONGEST_SHOWN)
