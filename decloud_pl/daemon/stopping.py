"""What a stop of the daemon means for rounds that are not over: said when it is asked for, and when it has ended."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from decloud_pl.journal.record import RoundRecord, State

_BEFORE_SUBMITTED = (State.TRAINING, State.WITHHELD, State.PUBLISHING, State.SUBMITTING)
_MOST_LINES = 8


@dataclass(frozen=True, slots=True)
class OpenRound:
    """A round with something left to do.

    Attributes:
        record: its row.
        deadline: of its present step, in Unix seconds of this machine; None where none is near or known.
        has_checkpoint: whether a training of it was begun and can be gone on with.
    """

    record: RoundRecord
    deadline: float | None
    has_checkpoint: bool


def said_at_once(training: Collection[int], finishing: Collection[int], seconds: float) -> str:
    """What the first Ctrl-C brings about.

    Args:
        training: the rounds that train.
        finishing: those in a step that is finished first.
        seconds: how long that may take.
    """
    parts = ["Stopping."]
    if training:
        parts.append(f"The training of {_named(training)} is cut off, with a checkpoint once it has begun.")
    if finishing:
        parts.append(f"What is being sent for {_named(finishing)} is finished first, within {seconds:.0f} s.")
    return " ".join([*parts, "Ctrl-C again ends at once."])


def said_at_the_end(rounds: Sequence[OpenRound], now: float) -> list[str]:
    """Which rounds are open and until when, those with a deadline first; ``now`` in Unix seconds."""
    urgent = sorted(rounds, key=lambda one: (_until(one) is None, _until(one) or 0.0, one.record.round_id))
    lines = [f"Round {one.record.round_id} is open: {_standing(one, now)}." for one in urgent[:_MOST_LINES]]
    if len(rounds) > _MOST_LINES:
        lines.append(f"{len(rounds) - _MOST_LINES} more rounds are open; `decloud-trainer status` shows them.")
    return lines


def _standing(one: OpenRound, now: float) -> str:
    record, until = one.record, _until(one)
    if record.state is State.TRAINING and record.update_cid is None:
        what = "its training goes on from the checkpoint" if one.has_checkpoint else "its training begins anew"
    elif record.state in (State.TRAINING, State.PUBLISHING, State.SUBMITTING):
        what = "its update is trained and not submitted yet"
    else:
        what = record.reason.rstrip(".") or record.state.value
    if until is None:
        return what
    if until <= now:
        return f"{what}; the time for submissions is over"
    clock = time.strftime("%H:%M:%S", time.localtime(until))
    return f"{what}; submissions are taken until {clock}, for {_minutes(until - now)} more"


def _until(one: OpenRound) -> float | None:
    return one.deadline if one.record.state in _BEFORE_SUBMITTED else None


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _named(rounds: Collection[int]) -> str:
    numbers = [str(number) for number in sorted(rounds)]
    return f"round {numbers[0]}" if len(numbers) == 1 else f"rounds {', '.join(numbers)}"
