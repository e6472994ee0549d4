"""When a published update is submitted: early, or late with a measured margin."""

from __future__ import annotations

import dataclasses

import pytest

from decloud_pl.domain import RoundStatus
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.rounds.life import Act, Next, Wait, next_step
from decloud_pl.rounds.margins import submit_margin
from tests.rounds.test_life import HANDED_IN, JOINED, NOW, RECORD, ROUND

PINNED = dataclasses.replace(RECORD, state=State.PUBLISHING, pinned_cid="bafyupdate")
TRAINING = dataclasses.replace(
    ROUND, status=RoundStatus.TRAINING, submit_deadline=NOW + 1_000, trainers_count=3, submissions_count=1
)


def late(record: RoundRecord = PINNED, *, now: int = NOW, submissions: int = 1, on_disk: bool = True) -> Next:
    round_ = dataclasses.replace(TRAINING, submissions_count=submissions)
    return next_step(record, round_, JOINED, now=now, update_on_disk=on_disk, submit_from=NOW + 800)


def test_an_update_is_published_at_once_and_submitted_in_the_margins_first_second() -> None:
    assert late(dataclasses.replace(PINNED, pinned_cid=None)) == Act("publish")
    waiting = late()
    assert isinstance(waiting, Wait)
    assert (waiting.state, waiting.until) == (State.READY, NOW + 800)
    ready = dataclasses.replace(PINNED, state=State.READY)
    assert late(ready, now=NOW + 799) == waiting
    assert late(ready, now=NOW + 800) == Act("submit")
    assert not State.READY.is_final
    assert not State.READY.occupies_slot


def test_a_transaction_that_may_be_on_its_way_is_completed_at_once() -> None:
    assert late(dataclasses.replace(PINNED, state=State.SUBMITTING)) == Act("submit")


def test_a_failed_look_ends_the_wait_but_a_failed_upload_does_not() -> None:
    failed = dataclasses.replace(PINNED, attempts=1)
    assert isinstance(late(failed), Wait)
    assert late(dataclasses.replace(failed, state=State.READY)) == Act("submit")


def test_without_a_rival_that_could_copy_it_an_update_is_submitted_at_once() -> None:
    assert late(submissions=2) == Act("submit")
    alone = dataclasses.replace(TRAINING, trainers_count=1, submissions_count=0)
    assert next_step(PINNED, alone, JOINED, now=NOW, update_on_disk=True, submit_from=NOW + 800) == Act("submit")


def test_a_submitted_update_is_not_ready_any_more() -> None:
    ready = dataclasses.replace(PINNED, state=State.READY)
    done = next_step(ready, TRAINING, HANDED_IN, now=NOW, update_on_disk=True, submit_from=NOW + 800)
    assert isinstance(done, Wait)
    assert done.state is State.SUBMITTED


@pytest.mark.parametrize(
    ("times", "reserve", "expected"),
    [
        ([], 60.0, None),
        ([(None, None)], 60.0, None),
        ([(2.0, None)], 60.0, 126.0),  # a lost transaction expires, and another one is sent
        ([(2.0, 30.0), (1.0, None)], 60.0, 210.0),
        ([(2.0, None)], 300.0, 306.0),
        ([(100.0, None), (1.0, 1.0)], 60.0, 420.0),
    ],
)
def test_the_margin_follows_the_slowest_recent_transaction(
    times: list[tuple[float | None, float | None]], reserve: float, expected: float | None
) -> None:
    rows = [
        dataclasses.replace(RECORD, round_id=number, join_seconds=join, claim_seconds=claim)
        for number, (join, claim) in enumerate(times)
    ]
    assert submit_margin(rows, reserve) == expected
