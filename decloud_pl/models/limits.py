"""What hyper-parameters an architecture takes, and within which limits: a stranger's package may name any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_LONGEST_SHOWN = 200
_LONGEST_NAME_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number from ``low`` to ``high``, both included."""

    low: int
    high: int

    def takes(self, value: object) -> bool:
        return type(value) is int and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"a whole number from {self.low} to {self.high}"


@dataclass(frozen=True, slots=True)
class Share:
    """A number from 0 to less than 1."""

    def takes(self, value: object) -> bool:
        return type(value) in (int, float) and 0 <= value < 1  # type: ignore[operator]  # the first test says it

    def __str__(self) -> str:
        return "a number from 0 to less than 1"


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of a few whole numbers."""

    values: tuple[int, ...]

    def takes(self, value: object) -> bool:
        return type(value) is int and value in self.values

    def __str__(self) -> str:
        return f"one of {', '.join(map(str, self.values))}"


Limit = Whole | Share | OneOf
Limits = Mapping[str, Limit]

CLASSES = Whole(1, 100_000)


def complaint(hyper_parameters: Mapping[str, object], limits: Limits) -> str:
    """What is wrong with hyper-parameters, as a sentence without its stop; empty when nothing is."""
    for name, value in hyper_parameters.items():
        if name not in limits:
            return f"It takes {', '.join(limits)}"
        if not limits[name].takes(value):
            return f"{name} must be {limits[name]}"
    return ""


def shown(hyper_parameters: Mapping[str, object]) -> str:
    """Hyper-parameters for a message, shortened."""
    text = str(dict(hyper_parameters))
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def legible(name: str) -> str:
    """A name from a stranger's file for a terminal or a message: shortened, control characters spelled out."""
    text = repr(name)[1:-1]
    return text if len(text) <= _LONGEST_NAME_SHOWN else f"{text[:_LONGEST_NAME_SHOWN]}…"
