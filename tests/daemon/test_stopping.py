"""A stop reports the open rounds, their deadlines and the state of their trainings."""

from __future__ import annotations

import time
from dataclasses import replace

from decloud_pl.daemon.stopping import OpenRound, said_at_once, said_at_the_end
from decloud_pl.journal.record import RoundRecord, State

NOW = time.mktime((2026, 11, 25, 12, 0, 0, 0, 0, -1))
ROW = RoundRecord(7, State.TRAINING, "custom", "digits", "bafybase", 10**9)


def ended(record: RoundRecord, *, left: float | None = 540.0, has_checkpoint: bool = True) -> str:
    deadline = None if left is None else NOW + left
    (line,) = said_at_the_end([OpenRound(record, deadline, has_checkpoint)], NOW)
    return line


def test_the_first_interrupt_names_what_is_cut_off_and_what_is_finished() -> None:
    assert said_at_once([], [], 90.0) == "Stopping. Press Ctrl-C again to stop at once."
    said = said_at_once([7, 3], [9], 90.0)
    assert "The training of rounds 3, 7 stops; if it has begun, it saves a checkpoint." in said
    assert "The current step of round 9 finishes first, within 90 s." in said


def test_an_open_training_is_named_with_the_end_of_submissions() -> None:
    until = "the submit deadline is at 12:09:00, in 9 min."
    assert ended(ROW) == f"Round 7 is open: its training resumes from the checkpoint; {until}"
    assert ended(ROW, has_checkpoint=False) == f"Round 7 is open: its training starts from scratch; {until}"
    trained = replace(ROW, state=State.PUBLISHING, update_cid="bafyupdate")
    until = "the submit deadline is at 12:01:59, in 119 s."
    assert ended(trained, left=119) == f"Round 7 is open: its update is trained but not submitted yet; {until}"
    assert ended(ROW, left=-1).endswith("; the submit deadline has passed.")


def test_what_waits_for_others_has_no_deadline_of_its_own() -> None:
    waiting = replace(ROW, state=State.WAITING, reason="joined, waiting for the validator to start the training")
    assert ended(waiting) == f"Round 7 is open: {waiting.reason}."
    assert ended(replace(ROW, state=State.JOINING), left=None) == "Round 7 is open: joining."


def test_the_nearest_deadline_comes_first_and_many_are_counted() -> None:
    late, soon = OpenRound(ROW, NOW + 900, True), OpenRound(replace(ROW, round_id=8), NOW + 60, True)
    scored = replace(ROW, state=State.SUBMITTED, reason="submitted, waiting for the validator's scores")
    others = [OpenRound(replace(scored, round_id=number), None, False) for number in range(20, 30)]
    lines = said_at_the_end([*others, late, soon], NOW)
    assert [line.split(" ", 2)[1] for line in lines[:3]] == ["8", "7", "20"]
    assert lines[-1] == "4 more rounds are open; `decloud-trainer status` shows them."
    assert said_at_the_end([], NOW) == []
