"""What is tried with an update that the gate withholds: other weights from the same training, or another training.

Each remedy gives weights; those are encoded, written, read back and judged as the first ones were.
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
"""What the learning rate is multiplied by in another training."""

# What things may take, in times of the base model's scoring on all of the held-out data. Each scoring of a half is 0.5:
# encoding one or a few of them, the verdict one, and two more where it looks for a cause.
WRITE_AND_JUDGE = 2.0
SLACK = 1.0
LINE_SEARCH = 2.5
LEAST_TRAINING = 4.0


def seconds_after_the_fit(remedies: Sequence[RemedyName], base_scoring: float) -> float:
    """What to reserve for everything after the last step: validation, the verdict, and remedies without training.

    ``base_scoring`` is the seconds that scoring the base model on the held-out data took.
    """
    shares: dict[RemedyName, float] = {"scale": LINE_SEARCH + WRITE_AND_JUDGE, "average": WRITE_AND_JUDGE}
    return (WRITE_AND_JUDGE + SLACK + sum(shares.get(name, 0.0) for name in remedies)) * base_scoring


@dataclass(frozen=True)
class Remedy:
    """One thing to try.

    ``seconds`` is about what it takes: it is left out where less is left. ``weights`` gives the weights to try, None
    where there are none, and the rest of a sentence about them.
    """

    name: RemedyName
    seconds: float
    weights: Callable[[], tuple[State | None, str]]


def rescaled(
    base: State, trained: State, score: Callable[[State], float | None], *, trained_score: float | None = None
) -> tuple[State | None, str]:
    """A line search: the weights between the base model and a little beyond the trained ones that do best.

    ``score`` gives the accuracy of a state on the data for choosing; ``trained_score`` that of ``trained``, where it is
    known. Returns what `Remedy.weights` gives; None where no other size does better.
    """

    def at(scale: float) -> State:
        return {
            name: start + scale * (trained[name].cpu() - start) if start.is_floating_point() else trained[name].cpu()
            for name, start in base.items()
        }

    whole = score(trained) if trained_score is None else trained_score
    scored = {1.0: whole or 0.0, **{scale: score(at(scale)) or 0.0 for scale in _SCALES}}
    # Of equals the one nearest to what was trained.
    best = max(scored, key=lambda scale: (scored[scale], -abs(scale - 1.0)))
    if best == 1.0:
        return None, "no other size of the update does better."
    return at(best), f"at {best:g} times its size the update does best."


def improve(
    update: Update,
    verdict: Verdict,
    remedies: Sequence[Remedy],
    *,
    write: Callable[[Path, State], Update],
    judge: Callable[[Path], Verdict],
    supervisor: Supervisor,
) -> tuple[Update, Verdict]:
    """The update and its verdict after as many remedies as it needs; the better one where none is enough.

    A candidate replaces the update's file where it is the better one. The supervisor has the deadline, gets a sentence
    about each step, and may stop the training before each.

    Raises:
        TrainingStopped: the training was asked to stop.
    """
    tried: list[str] = []
    candidate_path = update.path.with_name(f"candidate-{update.path.name}")
    for remedy in remedies:
        if verdict.passed or verdict.misread:
            break
        supervisor.check_stop()
        if supervisor.time_left() < remedy.seconds:
            supervisor.note("remedy", f"There is no time left for {remedy.name}.")
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
    """The lower end of a verdict's interval; only measured updates need a remedy."""
    return -1.0 if verdict.gain is None else verdict.gain.low
