"""Describe what a stop of the daemon does to open rounds, and which rounds are still open after the stop."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from decloud_pl.journal.record import RoundRecord, State

_BEFORE_SUBMITTED = (State.TRAINING, State.WITHHELD, State.PUBLISHING, State.READY, State.SUBMITTING)
_MOST_LINES = 8


@dataclass(frozen=True, slots=True)
class OpenRound:
    """A round that is not over.

    Attributes:
        record: the round's row in the journal.
        deadline: the deadline of the round's current step in Unix seconds of this machine; None if unknown.
        has_checkpoint: whether the round's training can resume from a checkpoint.
    """

    record: RoundRecord
    deadline: float | None
    has_checkpoint: bool


def said_at_once(training: Collection[int], finishing: Collection[int], seconds: float) -> str:
    """Describe what the first Ctrl-C does.

    Args:
        training: the rounds that are being trained.
        finishing: the rounds whose current step the daemon finishes before it stops.
        seconds: the most seconds that these steps may take.
    """
    parts = ["Stopping."]
    if training:
        parts.append(f"The training of {_named(training)} stops; if it has begun, it saves a checkpoint.")
    if finishing:
        parts.append(f"The current step of {_named(finishing)} finishes first, within {seconds:.0f} s.")
    return " ".join([*parts, "Press Ctrl-C again to stop at once."])


def said_at_the_end(rounds: Sequence[OpenRound], now: float) -> list[str]:
    """Return a line about each open round and its deadline, the earliest deadline first. ``now`` is in Unix seconds.

    If more than eight rounds are open, the last line only counts the remaining rounds.
    """
    urgent = sorted(rounds, key=lambda one: (_until(one) is None, _until(one) or 0.0, one.record.round_id))
    lines = [f"Round {one.record.round_id} is open: {_standing(one, now)}." for one in urgent[:_MOST_LINES]]
    if len(rounds) > _MOST_LINES:
        lines.append(f"{len(rounds) - _MOST_LINES} more rounds are open; `decloud-trainer status` shows them.")
    return lines


def _standing(one: OpenRound, now: float) -> str:
    record, until = one.record, _until(one)
    if record.state is State.TRAINING and record.update_cid is None:
        what = "its training resumes from the checkpoint" if one.has_checkpoint else "its training starts from scratch"
    elif record.state in (State.TRAINING, State.PUBLISHING, State.READY, State.SUBMITTING):
        what = "its update is trained but not submitted yet"
    else:
        what = record.reason.rstrip(".") or record.state.value
    if until is None:
        return what
    if until <= now:
        return f"{what}; the submit deadline has passed"
    clock = time.strftime("%H:%M:%S", time.localtime(until))
    return f"{what}; the submit deadline is at {clock}, in {_minutes(until - now)}"


def _until(one: OpenRound) -> float | None:
    return one.deadline if one.record.state in _BEFORE_SUBMITTED else None


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _named(rounds: Collection[int]) -> str:
    numbers = [str(number) for number in sorted(rounds)]
    return f"round {numbers[0]}" if len(numbers) == 1 else f"rounds {', '.join(numbers)}"
