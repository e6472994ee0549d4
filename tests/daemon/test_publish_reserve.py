"""How long before the deadline a training must end."""

from __future__ import annotations

import dataclasses

import pytest

from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.rounds.margins import publish_reserve


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
    assert publish_reserve(records(*seconds), 60.0) == expected
