"""How long before the deadline a training must end."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import pytest

from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.rounds.margins import publish_reserve
from decloud_pl.train.plan import TrainingPlan
from tests.world import PATIENCE, NoPlan, World


def records(*seconds: float | None) -> list[RoundRecord]:
    row = RoundRecord(0, State.SUBMITTED, "custom", "digits", "bafy", 1)
    return [dataclasses.replace(row, round_id=number, publish_seconds=value) for number, value in enumerate(seconds)]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ((), 60.0),
        ((None, 5.0), 60.0),
        ((30.0, 25.0), 90.0),
        ((1_000.0, *(20.0 for _ in range(9))), 3_000.0),
        ((1_000.0, *(30.0 for _ in range(10))), 90.0),
    ],
)
def test_slow_publishing_is_given_more_time_until_it_is_long_past(
    seconds: tuple[float | None, ...], expected: float
) -> None:
    assert publish_reserve(records(*seconds), 60.0, seconds_left=10_000.0) == expected


@pytest.mark.parametrize(("left", "expected"), [(3_600.0, 1_800.0), (600.0, 300.0), (100.0, 60.0), (-5.0, 60.0)])
def test_slow_publishing_takes_at_most_half_of_the_time_that_is_left(left: float, expected: float) -> None:
    assert publish_reserve(records(1_300.0), 60.0, seconds_left=left) == expected


class Planner(NoPlan):
    """Keeps how many seconds after the call each training must have finished."""

    def __init__(self) -> None:
        self.ahead: list[float] = []

    def plan(self, record: RoundRecord, *, finish_by: float | None = None, **rest: Any) -> TrainingPlan:
        assert finish_by is not None
        self.ahead.append(finish_by - time.time())
        return super().plan(record, **rest)


async def test_one_slow_upload_leaves_the_next_trainings_half_of_their_time(world: World) -> None:
    world.planner = planner = Planner()
    with world.open_journal() as journal:
        journal.save(dataclasses.replace(*records(1_300.0), round_id=99, state=State.CLAIMED))
    async with world.daemon():
        round_id = await world.post()
        await world.diary.reaches(round_id, State.WAITING)
        await world.begin(round_id)  # with 3600 s until the deadline
        await world.diary.reaches(round_id, State.SUBMITTED)
    (ahead,) = planner.ahead
    assert ahead == pytest.approx(1_800.0, abs=PATIENCE)
