"""How a round ended, and how long its validator took, from looks and events."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from solders.pubkey import Pubkey

from decloud_pl.chain.events import GradientsSubmitted, ValidationCompleted
from decloud_pl.domain import Round, RoundStatus, Submission
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.track_record import TrackRecord, endings, track_records
from decloud_pl.journal.writer import Journal
from decloud_pl.rounds.sightings import UNSCORED_AFTER, Sightings, ending_of, split_of
from tests.rounds.test_select import ROUND

NOW = 1_000_000
TRAINED = dataclasses.replace(
    ROUND,
    status=RoundStatus.VALIDATING,
    trainers_count=2,
    submissions_count=2,
    created_at=NOW - 5_000,
    join_deadline=NOW - 4_000,
    submit_deadline=NOW - 100,
)
LATE = NOW + UNSCORED_AFTER


@pytest.mark.parametrize(
    ("changes", "now", "expected"),
    [
        ({"status": RoundStatus.COMPLETED}, NOW, "completed"),
        ({}, NOW, "open"),
        ({}, LATE - 100, "open"),
        ({}, LATE, "unscored"),
        ({"status": RoundStatus.TRAINING, "submissions_count": 0}, LATE, "open"),
        ({"status": RoundStatus.TRAINING, "submissions_count": 1}, LATE, "unscored"),
        ({"status": RoundStatus.WAITING_TRAINERS, "submit_deadline": 0, "submissions_count": 0}, LATE, "unscored"),
        ({"status": RoundStatus.WAITING_TRAINERS, "submit_deadline": 0, "trainers_count": 0}, LATE, "open"),
        ({"status": RoundStatus.WAITING_VALIDATOR, "validator": None}, LATE, "open"),
        ({"status": RoundStatus.EXPIRED}, NOW, "unscored"),
        ({"status": RoundStatus.EXPIRED, "submit_deadline": 0}, NOW, "unscored"),
        ({"status": RoundStatus.EXPIRED, "submissions_count": 0}, NOW, "empty"),
        ({"status": RoundStatus.EXPIRED, "trainers_count": 0, "submissions_count": 0}, NOW, "empty"),
        ({"status": RoundStatus.EXPIRED, "validator": None}, NOW, "empty"),
        ({"status": RoundStatus.CANCELLED}, NOW, "unscored"),
        ({"status": RoundStatus.CANCELLED, "trainers_count": 0}, NOW, "empty"),
        ({"status": RoundStatus.CANCELLED, "validator": None}, NOW, "cancelled"),
        ({"submit_deadline": 2**63 - 1}, LATE, "open"),
        ({"submit_deadline": -(2**63)}, NOW, "unscored"),
    ],
)
def test_an_ending_blames_the_validator_only_for_trainers_in_vain(
    changes: dict[str, Any], now: int, expected: str
) -> None:
    assert ending_of(dataclasses.replace(TRAINED, **changes), now) == expected


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ([5_000, 5_000], "equal"),
        ([3_334, 3_333, 3_333], "equal"),
        ([5_000, 0, 5_000], "equal"),  # a submission that could not be opened
        ([6_000, 4_000], "unequal"),
        ([10_000, 0], "unequal"),
        ([], "unequal"),
    ],
)
def test_only_several_equal_shares_are_an_equal_split(shares: list[int], expected: str) -> None:
    submissions = [Submission(1, Pubkey.new_unique(), "cid", True, share, False, 255) for share in shares]
    assert split_of(submissions) == expected


class Watch:
    """A journal with its sightings, and a clock of this machine, which is 50 s ahead of the chain's."""

    def __init__(self, path: Path) -> None:
        self.here = NOW + 50.0
        self.journal = Journal(path, Owner("net", "program", "wallet"), now=lambda: self.here)
        self.sightings = Sightings(self.journal, now=lambda: self.here)

    def look(self, *rounds: Round) -> None:
        with self.sightings.look(int(self.here) - 50) as see:
            for round_ in rounds:
                see(round_)

    def record(self) -> TrackRecord:
        (found,) = track_records(self.journal, "validator")
        return found


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    found = Watch(tmp_path / "j")
    yield found
    found.journal.close()


COMPLETED = dataclasses.replace(TRAINED, status=RoundStatus.COMPLETED)


def test_events_show_the_time_from_the_last_submission_to_the_scores(watch: Watch) -> None:
    for trainer in range(2):
        watch.sightings.on_event(GradientsSubmitted(1, Pubkey.new_unique(), "cid", trainer + 1))
        watch.here += 30
    watch.here += 40
    watch.sightings.on_event(ValidationCompleted(1))
    watch.here += 3_000
    watch.look(COMPLETED)
    assert watch.record().scoring_seconds == 70.0


def test_an_event_that_arrives_after_the_round_was_stored_still_gives_the_time(watch: Watch) -> None:
    for trainer in range(2):
        watch.sightings.on_event(GradientsSubmitted(1, Pubkey.new_unique(), "cid", trainer + 1))
    watch.look(COMPLETED)
    assert watch.record().scoring_seconds is None
    watch.here += 10
    watch.sightings.on_event(ValidationCompleted(1))
    for _ in range(2):
        watch.here += 3_000
        watch.look(COMPLETED)
        assert watch.record().scoring_seconds == 10.0
    before = watch.journal.connection.total_changes
    watch.look(COMPLETED)
    assert watch.journal.connection.total_changes == before


def test_an_event_that_arrives_during_a_look_counts_at_the_next_one(watch: Watch) -> None:
    for trainer in range(2):
        watch.sightings.on_event(GradientsSubmitted(1, Pubkey.new_unique(), "cid", trainer + 1))
    watch.here += 10
    with watch.sightings.look(NOW) as see:
        see(COMPLETED)
        watch.sightings.on_event(ValidationCompleted(1))
    watch.look(COMPLETED)
    assert watch.record().scoring_seconds == 10.0


def test_a_round_with_a_missing_submission_is_timed_from_its_deadline(watch: Watch) -> None:
    round_ = dataclasses.replace(COMPLETED, submissions_count=1, submit_deadline=NOW + 20)
    watch.sightings.on_event(GradientsSubmitted(1, Pubkey.new_unique(), "cid", 1))
    watch.here += 60
    watch.sightings.on_event(ValidationCompleted(1))
    watch.look(round_)
    assert watch.record().scoring_seconds == 40.0


@pytest.mark.parametrize("deadline", [NOW + 500, -(2**63), 2**63 - 1])
def test_a_duration_that_cannot_be_is_not_known(watch: Watch, deadline: int) -> None:
    watch.sightings.on_event(ValidationCompleted(1))
    watch.look(dataclasses.replace(COMPLETED, submissions_count=1, submit_deadline=deadline, created_at=2**63 - 1))
    assert (watch.record().scoring_seconds, watch.record().last_at) == (None, NOW)


def test_without_events_close_looks_at_own_rounds_show_the_times_and_distant_ones_do_not(watch: Watch) -> None:
    for round_id, pause in ((1, 10), (2, 1_000)):
        own = dataclasses.replace(TRAINED, id=round_id, status=RoundStatus.TRAINING, submissions_count=1)
        both = dataclasses.replace(own, submissions_count=2)
        for shown in (own, both, dataclasses.replace(both, status=RoundStatus.COMPLETED)):
            watch.sightings.saw(shown, int(watch.here) - 50)
            watch.here += pause
    assert watch.record().completed == 2
    assert watch.record().scoring_seconds == 10.0  # of round 1 alone


def test_a_round_is_written_when_its_ending_changes_and_a_late_score_counts(watch: Watch) -> None:
    watch.here += UNSCORED_AFTER
    watch.look(TRAINED, dataclasses.replace(TRAINED, id=2, submit_deadline=NOW + UNSCORED_AFTER))
    assert endings(watch.journal, range(9)) == {1: "unscored"}
    before = watch.journal.connection.total_changes
    watch.look(TRAINED)
    assert watch.journal.connection.total_changes == before
    watch.look(COMPLETED)
    assert endings(watch.journal, range(9)) == {1: "completed"}


def test_a_refused_base_model_is_held_against_its_creator(watch: Watch) -> None:
    watch.sightings.refuse(dataclasses.replace(TRAINED, status=RoundStatus.WAITING_TRAINERS, submit_deadline=NOW))
    watch.look(COMPLETED)
    (creator,) = track_records(watch.journal, "creator")
    assert (creator.refused, creator.completed) == (1, 1)
