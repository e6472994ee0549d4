"""Successive halving over learning rates, within a time.

All rates are tried for a few batches; the better half goes on, from where it stands, for twice as many, and so on. The
configured rate goes on to the end whatever it scores, so that the last comparison says what the search is worth. The
last two go on as long as there is time: after a few batches a high rate looks better than it is.
K. Jamieson, A. Talwalkar: Non-stochastic Best Arm Identification and Hyperparameter Optimization, 2016,
https://arxiv.org/abs/1502.07943.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


class OutOfTime(Exception):
    """A course was broken off because the search's time is over."""


@dataclass(frozen=True, slots=True)
class Reached:
    """Where a course stands.

    ``accuracy`` is on held-out data, 0 to 1; None when the training diverged. The seconds are those of the batches,
    without starting and scoring.
    """

    accuracy: float | None
    training_seconds: float


class Courses(Protocol):
    """Trainings with different learning rates from the same weights over the same batches."""

    def go_on(self, rate: float, batches: int) -> Reached:
        """Goes on with a rate's course until it has taken ``batches`` in all, and scores it.

        Raises:
            OutOfTime: the search's time is over.
        """
        ...


@dataclass(frozen=True, slots=True)
class Rung:
    """One comparison: the accuracy of each rate after the same batches, None for one that diverged."""

    batches: int
    accuracies: dict[float, float | None]


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has seen.

    Attributes:
        rungs: the comparisons that came to their end, the shortest first.
        seconds_per_batch: of the trainings; None when none was finished.
        seconds_per_course: what starting and scoring took besides, each time.
    """

    rungs: tuple[Rung, ...]
    seconds_per_batch: float | None = None
    seconds_per_course: float = 0.0

    @property
    def last(self) -> Rung | None:
        """The last comparison in which not every rate diverged."""
        return next((rung for rung in reversed(self.rungs) if set(rung.accuracies.values()) != {None}), None)

    def best(self, configured: float) -> float:
        """The rate that did best in the last comparison, if it was better than the configured one in the two last.

        One comparison alone shows the chance of a moment: at a constant rate the accuracy goes up and down by points.
        """
        if self.last is None:
            return configured
        *_, before, last = Rung(0, {}), *self.rungs[: self.rungs.index(self.last) + 1]
        better = [
            rate
            for rate in last.accuracies
            if all(_lead(rung, rate, configured) > 0 for rung in (last, before)) or rate == configured
        ]
        # In the order of distance from the configured rate: of two that are equally good the nearer one is taken.
        better.sort(key=lambda rate: abs(math.log(rate / configured)))
        return max(better, key=lambda rate: _rank(last.accuracies[rate]), default=configured)

    def still_gains(self, rate: float) -> bool:
        """Whether twice the batches made a rate's accuracy better in the last comparison."""
        if len(self.rungs) < 2:
            return False
        before, after = (rung.accuracies.get(rate) for rung in self.rungs[-2:])
        return before is not None and after is not None and after > before


def rungs_of(challengers: int) -> int:
    """How many comparisons leave one of so many rates."""
    return 1 + math.ceil(math.log2(max(1, challengers)))


def halve(
    courses: Courses,
    rates: Sequence[float],
    *,
    configured: float,
    first: int,
    longest: int,
    end: float,
    monotonic: Callable[[], float],
    on_rung: Callable[[Rung], None] = lambda _: None,
) -> Found:
    """Searches until one rate besides the configured one has come to the longest comparison, or the time is over.

    A comparison is begun, and gone on with, only as long as it can be expected to end in time. The first one takes
    ``first`` batches, none more than ``longest``. ``end`` is on the scale of ``monotonic``, in seconds.
    """
    pace = _Pace()
    rungs: list[Rung] = []
    challengers = [rate for rate in rates if rate != configured]
    standing = [configured, *challengers]
    done, batches = 0, first
    while True:
        accuracies: dict[float, float | None] = {}
        for number, rate in enumerate(standing):
            begun = monotonic()
            if begun + pace.expected(len(standing) - number, batches - done) > end:
                return pace.found(rungs)
            try:
                reached = courses.go_on(rate, batches)
            except OutOfTime:
                return pace.found(rungs)
            accuracies[rate] = reached.accuracy
            if reached.accuracy is not None:
                pace.add(batches - done, reached.training_seconds, monotonic() - begun)
        rungs.append(Rung(batches, accuracies))
        on_rung(rungs[-1])
        alive = [rate for rate in challengers if accuracies[rate] is not None]
        if not alive or 2 * batches > longest:
            return pace.found(rungs)
        alive.sort(key=lambda rate: -_rank(accuracies[rate]))
        challengers = alive[: max(1, len(challengers) // 2)]
        standing = [configured, *challengers] if accuracies.get(configured) is not None else challengers
        done, batches = batches, 2 * batches


class _Pace:
    """What a batch and what a start take, as measured so far."""

    def __init__(self) -> None:
        self._batches = self._courses = 0
        self._training = self._whole = 0.0

    def add(self, batches: int, training: float, whole: float) -> None:
        self._batches += batches
        self._courses += 1
        self._training += training
        self._whole += whole

    def expected(self, courses: int, batches: int) -> float:
        """Seconds for so many courses of so many batches each; 0 before anything was measured."""
        found = self.found(())
        return courses * (batches * (found.seconds_per_batch or 0.0) + found.seconds_per_course)

    def found(self, rungs: Sequence[Rung]) -> Found:
        if not self._batches:
            return Found(tuple(rungs))
        per_course = (self._whole - self._training) / self._courses
        return Found(tuple(rungs), self._training / self._batches, per_course)


def _lead(rung: Rung, rate: float, configured: float) -> float:
    """By how much a rate is better in a comparison that both took part in; infinite where one did not."""
    if rate not in rung.accuracies or configured not in rung.accuracies:
        return math.inf
    return _rank(rung.accuracies[rate]) - _rank(rung.accuracies[configured])


def _rank(accuracy: float | None) -> float:
    return -1.0 if accuracy is None else accuracy
