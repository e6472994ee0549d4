"""Successive halving over learning rates, within a time limit.

The search trains with every rate for a few batches. The better half of the rates continues until each has trained on
twice as many batches, and so on. The configured rate stays in unless it diverges, so the last comparison shows what the
search gains. The configured rate and the best other rate continue as long as there is time, because after a few batches
a high rate looks better than it is.

K. Jamieson, A. Talwalkar: Non-stochastic Best Arm Identification and Hyperparameter Optimization, 2016,
https://arxiv.org/abs/1502.07943.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


class OutOfTime(Exception):
    """The training at one learning rate was aborted because the search ran out of time."""


@dataclass(frozen=True, slots=True)
class Reached:
    """The result of a course so far. A course is the training at one learning rate.

    Attributes:
        accuracy: accuracy on held-out data, 0 to 1; None if the training diverged.
        training_seconds: seconds spent on the batches, without the time to start and score.
    """

    accuracy: float | None
    training_seconds: float


class Courses(Protocol):
    """The courses of a search. All of them start from the same weights and use the same batches."""

    def go_on(self, rate: float, batches: int) -> Reached:
        """Continue a rate's course until it has trained on ``batches`` batches in total, and score it.

        Raises:
            OutOfTime: the search ran out of time.
        """
        ...


@dataclass(frozen=True, slots=True)
class Rung:
    """One comparison: the accuracy of each rate after ``batches`` batches; None if the training at a rate diverged."""

    batches: int
    accuracies: dict[float, float | None]


@dataclass(frozen=True, slots=True)
class Found:
    """The results of a search. A course is the training at one learning rate.

    Attributes:
        rungs: the comparisons in which every course was scored. The one with the fewest batches is the first.
        seconds_per_batch: training time per batch; None if no course trained on all its batches.
        seconds_per_course: the time to start and score a course, without its batches.
    """

    rungs: tuple[Rung, ...]
    seconds_per_batch: float | None = None
    seconds_per_course: float = 0.0

    @property
    def last(self) -> Rung | None:
        """The last comparison in which at least one rate did not diverge."""
        return next((rung for rung in reversed(self.rungs) if set(rung.accuracies.values()) != {None}), None)

    def best(self, configured: float) -> float:
        """Return the best of the rates that beat the configured rate in both of the last two comparisons.

        "Best" refers to the last comparison. If no rate beat the configured rate in both, return the configured rate.
        One comparison is too noisy: at a constant rate, the accuracy moves up and down by points.
        """
        if self.last is None:
            return configured
        *_, before, last = Rung(0, {}), *self.rungs[: self.rungs.index(self.last) + 1]
        better = [
            rate
            for rate in last.accuracies
            if all(_lead(rung, rate, configured) > 0 for rung in (last, before)) or rate == configured
        ]
        # Sorted by distance from the configured rate, so `max` picks the nearer of two equally good rates.
        better.sort(key=lambda rate: abs(math.log(rate / configured)))
        return max(better, key=lambda rate: _rank(last.accuracies[rate]), default=configured)

    def still_gains(self, rate: float) -> bool:
        """Return whether doubling the batches improved a rate's accuracy in the last comparison."""
        if len(self.rungs) < 2:
            return False
        before, after = (rung.accuracies.get(rate) for rung in self.rungs[-2:])
        return before is not None and after is not None and after > before


def rungs_of(challengers: int) -> int:
    """Return the number of comparisons that narrow ``challengers`` rates down to one, if none of them diverges."""
    return max(1, challengers).bit_length()


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
    """Compare the learning rates, keep the better half, compare those over twice as many batches, and so on.

    The search ends when the longest comparison is complete, when every rate except the configured one has diverged, or
    when the time runs out. It starts and continues a comparison only if it can expect to complete it in time.

    Args:
        courses: runs the trainings to compare.
        rates: the rates to compare with ``configured``.
        configured: the plan's rate.
        first: number of batches of the first comparison.
        longest: largest number of batches of a comparison.
        end: when the search must end, in seconds on the scale of ``monotonic``.
        monotonic: returns the time in seconds.
        on_rung: called after each complete comparison.
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
    """Averages the time per batch, and the additional time that a course needs to start and to be scored."""

    def __init__(self) -> None:
        self._batches = self._courses = 0
        self._training = self._whole = 0.0

    def add(self, batches: int, training: float, whole: float) -> None:
        self._batches += batches
        self._courses += 1
        self._training += training
        self._whole += whole

    def expected(self, courses: int, batches: int) -> float:
        """Return the expected seconds for some courses with ``batches`` batches each; 0 if none has been timed yet."""
        found = self.found(())
        return courses * (batches * (found.seconds_per_batch or 0.0) + found.seconds_per_course)

    def found(self, rungs: Sequence[Rung]) -> Found:
        if not self._batches:
            return Found(tuple(rungs))
        per_course = (self._whole - self._training) / self._courses
        return Found(tuple(rungs), self._training / self._batches, per_course)


def _lead(rung: Rung, rate: float, configured: float) -> float:
    """Return by how much a rate beats the configured rate; infinite if the comparison does not contain both."""
    if rate not in rung.accuracies or configured not in rung.accuracies:
        return math.inf
    return _rank(rung.accuracies[rate]) - _rank(rung.accuracies[configured])


def _rank(accuracy: float | None) -> float:
    return -1.0 if accuracy is None else accuracy
