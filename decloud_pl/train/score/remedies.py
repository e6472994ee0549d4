"""Remedies for an update that the gate withholds: other weights from the same training, or another training.

Each remedy returns weights. They are encoded, written, read back and judged like the first ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from decloud_pl.domain import RemedyName, Update
from decloud_pl.errors import TrainingDiverged
from decloud_pl.train.progress import Supervisor
from decloud_pl.train.score.gate import Verdict, after_remedies

State = Mapping[str, torch.Tensor]

_SCALES = (0.25, 0.5, 0.75, 1.25, 1.5)
LOWER_RATE = 0.1
"""Factor of the learning rate in another training."""

# Durations in units of scoring the base model on the whole held-out part. Scoring one half takes 0.5. The encoding
# scores one half once or a few times. The verdict takes 1, and 2 more if it searches for a cause.
WRITE_AND_JUDGE = 2.0
SLACK = 1.0
LINE_SEARCH = 2.5
LEAST_TRAINING = 4.0


def seconds_after_the_fit(remedies: Sequence[RemedyName], base_scoring: float) -> float:
    """Return the seconds to reserve after the last step, for validation, verdict and remedies without training.

    ``base_scoring`` is the time in seconds for scoring the base model on the held-out part.
    """
    shares: dict[RemedyName, float] = {"scale": LINE_SEARCH + WRITE_AND_JUDGE, "average": WRITE_AND_JUDGE}
    return (WRITE_AND_JUDGE + SLACK + sum(shares.get(name, 0.0) for name in remedies)) * base_scoring


@dataclass(frozen=True)
class Remedy:
    """A remedy to try.

    Attributes:
        name: of the remedy.
        seconds: about how long it takes. It is skipped if less time is left.
        weights: returns the weights to try, or None if the remedy has none, and the end of a sentence about them.
    """

    name: RemedyName
    seconds: float
    weights: Callable[[], tuple[State | None, str]]


def rescaled(
    base: State, trained: State, score: Callable[[State], float | None], *, trained_score: float | None = None
) -> tuple[State | None, str]:
    """Search along the line from the base model through the trained weights for the weights with the best score.

    Args:
        base: the base model's state.
        trained: the trained state.
        score: returns the accuracy of a state on the half for choosing.
        trained_score: the accuracy of ``trained``, if it is known.

    Returns:
        The same as `Remedy.weights`. The weights are None if no other scale scores better.
    """

    def at(scale: float) -> State:
        return {
            name: start + scale * (trained[name].cpu() - start) if start.is_floating_point() else trained[name].cpu()
            for name, start in base.items()
        }

    whole = score(trained) if trained_score is None else trained_score
    scored = {1.0: whole or 0.0, **{scale: score(at(scale)) or 0.0 for scale in _SCALES}}
    # Among equal scores, prefer the scale nearest to the trained weights.
    best = max(scored, key=lambda scale: (scored[scale], -abs(scale - 1.0)))
    if best == 1.0:
        return None, "no other scale of the update scores better."
    return at(best), f"scaled by {best:g}, the update scores best."


def improve(
    update: Update,
    verdict: Verdict,
    remedies: Sequence[Remedy],
    *,
    write: Callable[[Path, State], Update],
    judge: Callable[[Path], Verdict],
    supervisor: Supervisor,
) -> tuple[Update, Verdict]:
    """Try remedies until one passes, and return the better update with its verdict.

    A better candidate replaces the update's file. The supervisor has the deadline, receives a sentence about each step,
    and may stop the training before each step.

    Raises:
        TrainingStopped: a stop was requested.
    """
    tried: list[str] = []
    candidate_path = update.path.with_name(f"candidate-{update.path.name}")
    for remedy in remedies:
        if verdict.passed or verdict.misread:
            break
        supervisor.check_stop()
        if supervisor.time_left() < remedy.seconds:
            supervisor.note("remedy", f"No time is left for the remedy {remedy.name}.")
            continue
        tried.append(remedy.name)
        try:
            weights, words = remedy.weights()
            supervisor.note("remedy", f"Remedy {remedy.name}: {words}")
            if weights is None:
                continue
            candidate = write(candidate_path, weights)
        except TrainingDiverged as error:
            supervisor.note("remedy", f"Remedy {remedy.name}: {error.message}")
            continue
        judged = judge(candidate_path)
        if judged.passed or _low(judged) > _low(verdict):
            candidate_path.replace(update.path)
            update, verdict = replace(candidate, path=update.path), judged
        else:
            candidate_path.unlink()
    return update, after_remedies(verdict, tried)


def _low(verdict: Verdict) -> float:
    """Return the lower end of a verdict's interval. Only measured updates need a remedy."""
    return -1.0 if verdict.gain is None else verdict.gain.low
