"""Successive halving: which rates continue, from where, for how long, and when it stops. The courses move the clock."""

from __future__ import annotations

import pytest

from decloud_pl.train.tune.halving import Found, OutOfTime, Reached, Rung, halve, rungs_of

RATES = (0.1, 0.3, 3.0, 10.0)


class Track:
    """Courses with given accuracies. Each start takes 2 seconds and each batch one second."""

    def __init__(
        self, accuracies: dict[float, float | None], *, improve: float = 0.0, end: float = float("inf")
    ) -> None:
        self.accuracies = accuracies
        self.improve = improve
        self.end = end
        self.time = 0.0
        self.taken: dict[float, int] = {}
        self.asked: list[tuple[float, int]] = []

    def monotonic(self) -> float:
        return self.time

    def go_on(self, rate: float, batches: int) -> Reached:
        self.asked.append((rate, batches))
        more = batches - self.taken.get(rate, 0)
        self.time += 2 + more
        if self.time > self.end:
            raise OutOfTime
        self.taken[rate] = batches
        return Reached(self.accuracies[rate], more)

    def search(self, *, rates: tuple[float, ...] = RATES, end: float = 1e9, longest: int = 40) -> Found:
        return halve(self, rates, configured=1.0, first=10, longest=longest, end=end, monotonic=self.monotonic)


def test_the_better_half_goes_on_for_twice_the_batches_and_the_configured_rate_to_the_end() -> None:
    track = Track({0.1: 0.1, 0.3: 0.5, 1.0: 0.05, 3.0: 0.7, 10.0: 0.2})
    found = track.search()
    assert [(rung.batches, sorted(rung.accuracies)) for rung in found.rungs] == [
        (10, [0.1, 0.3, 1.0, 3.0, 10.0]),
        (20, [0.3, 1.0, 3.0]),
        (40, [1.0, 3.0]),
    ]
    assert found.best(1.0) == 3.0
    # Each course resumes: 10 batches five times, 10 more three times, 20 more twice, and 10 starts.
    assert track.time == 120 + 2 * 10
    assert (found.seconds_per_batch, found.seconds_per_course) == (1.0, 2.0)
    assert len(found.rungs) == rungs_of(len(RATES))


@pytest.mark.parametrize(("challengers", "rungs"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (8, 4)])
def test_how_many_comparisons_there_are(challengers: int, rungs: int) -> None:
    rates = tuple(2.0 ** (number + 1) for number in range(challengers))
    found = Track(dict.fromkeys((1.0, *rates), 0.5)).search(rates=rates, longest=10_000)
    assert next(number for number, rung in enumerate(found.rungs, 1) if len(rung.accuracies) == 2) == rungs
    assert rungs <= rungs_of(challengers)


def test_the_last_two_go_on_as_long_as_there_is_time_and_no_longer_than_the_training() -> None:
    accuracies: dict[float, float | None] = {1.0: 0.5, 3.0: 0.6}
    found = Track(accuracies).search(rates=(3.0,), longest=100)
    assert [rung.batches for rung in found.rungs] == [10, 20, 40, 80]
    found = Track(accuracies).search(rates=(3.0,), longest=100, end=80)
    assert [rung.batches for rung in found.rungs] == [10, 20]


def test_of_equals_the_configured_rate_is_taken_then_the_nearest() -> None:
    assert Track(dict.fromkeys((1.0, *RATES), 0.5)).search().best(1.0) == 1.0
    assert Found((Rung(1, {10.0: 0.5, 1.0: 0.1, 3.0: 0.5}),)).best(1.0) == 3.0
    assert Found(()).best(1.0) == 1.0


def test_the_chance_of_one_comparison_decides_nothing() -> None:
    after_60, after_120 = Rung(60, {1.0: 0.729, 3.0: 0.724}), Rung(120, {1.0: 0.748, 3.0: 0.775})
    assert Found((after_60, after_120)).best(1.0) == 1.0
    assert Found((after_60, after_120, Rung(240, {1.0: 0.75, 3.0: 0.78}))).best(1.0) == 3.0
    assert Found((after_120,)).best(1.0) == 3.0
    # If the configured rate diverged before, the best other rate wins.
    assert Found((Rung(60, {1.0: None, 3.0: 0.1, 0.3: 0.2}), Rung(120, {3.0: 0.3, 0.3: 0.2}))).best(1.0) == 3.0


def test_rates_that_diverge_are_dropped() -> None:
    found = Track({0.1: 0.1, 0.3: 0.2, 1.0: 0.3, 3.0: None, 10.0: None}).search()
    assert [sorted(rung.accuracies) for rung in found.rungs[1:]] == [[0.1, 0.3, 1.0], [0.3, 1.0]]
    # A configured rate that diverged is not tried again either.
    found = Track({0.1: 0.1, 0.3: 0.2, 1.0: None, 3.0: None, 10.0: None}).search()
    assert [sorted(rung.accuracies) for rung in found.rungs[1:]] == [[0.1, 0.3], [0.3]]
    assert found.best(1.0) == 0.3
    found = Track(dict.fromkeys((1.0, *RATES))).search()
    assert (len(found.rungs), found.last, found.best(1.0)) == (1, None, 1.0)


@pytest.mark.parametrize(
    ("end", "rungs"),
    [
        (60, 1),  # five times 2 + 10 seconds
        (59, 0),
        (95, 1),  # three times 2 + 10 more
        (96, 2),
        (139, 2),  # twice 2 + 20 more
        (140, 3),
    ],
)
def test_a_comparison_is_begun_only_when_it_will_end_in_time(end: float, rungs: int) -> None:
    track = Track({0.1: 0.1, 0.3: 0.5, 1.0: 0.05, 3.0: 0.7, 10.0: 0.2})
    found = track.search(end=end)
    assert len(found.rungs) == rungs
    assert track.time <= end
    # A comparison that will not end in time is abandoned as early as possible: after one course.
    assert rungs or len(track.asked) == 1


def test_a_course_that_is_broken_off_leaves_the_comparisons_before_it() -> None:
    found = Track({0.1: 0.1, 0.3: 0.5, 1.0: 0.05, 3.0: 0.7, 10.0: 0.2}, end=70).search()
    assert len(found.rungs) == 1
    assert Track({1.0: 0.5}, end=1).search() == Found(())


def test_whether_a_training_still_gains() -> None:
    def after(*accuracies: float | None) -> Found:
        return Found(tuple(Rung(1 << number, {1.0: accuracy}) for number, accuracy in enumerate(accuracies)))

    assert after(0.1, 0.5, 0.6).still_gains(1.0)
    assert not after(0.1, 0.6, 0.6).still_gains(1.0)
    assert not after(0.1, 0.6, None).still_gains(1.0)
    assert not after(0.6).still_gains(1.0)
