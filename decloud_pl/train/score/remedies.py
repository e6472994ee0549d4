"""What is tried with an update that the gate withholds: other weights from the same training, or another training.

Each remedy gives weights; those are encoded, written, read back and judged as the first ones were.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch

from decloud_pl.domain import RemedyName, Update
from decloud_pl.errors import TrainingDiverged
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

    Args:
        remedies: that may be tried.
        base_scoring: seconds that scoring the base model on the held-out data took.
    """
    shares: dict[RemedyName, float] = {"scale": LINE_SEARCH + WRITE_AND_JUDGE, "average": WRITE_AND_JUDGE}
    return (WRITE_AND_JUDGE + SLACK + sum(shares.get(name, 0.0) for name in remedies)) * base_scoring


class Remedy(Protocol):
    """One thing to try."""

    @property
    def name(self) -> str: ...

    @property
    def seconds(self) -> float:
        """What it takes, about; it is left out where less is left."""
        ...

    def weights(self) -> tuple[State | None, str]:
        """The weights to try, None where there are none, and the rest of a sentence about them."""
        ...


@dataclass(frozen=True)
class Scale:
    """A line search: the weights between the base model and a little beyond the trained ones that do best.

    Attributes:
        base: the base model.
        trained: the trained weights.
        score: accuracy of a state on the data for choosing.
        seconds: see `Remedy`.
        trained_score: the accuracy of ``trained``, where it is known.
    """

    base: State
    trained: State
    score: Callable[[State], float | None]
    seconds: float
    trained_score: float | None = None
    name: str = "scale"

    def weights(self) -> tuple[State | None, str]:
        whole = self.score(self.trained) if self.trained_score is None else self.trained_score
        scored = {1.0: whole or 0.0, **{scale: self.score(self._at(scale)) or 0.0 for scale in _SCALES}}
        # Of equals the one nearest to what was trained.
        best = max(scored, key=lambda scale: (scored[scale], -abs(scale - 1.0)))
        if best == 1.0:
            return None, "no other size of the update does better."
        return self._at(best), f"at {best:g} times its size the update does best."

    def _at(self, scale: float) -> State:
        return {
            name: start + scale * (self.trained[name].cpu() - start)
            if start.is_floating_point()
            else self.trained[name].cpu()
            for name, start in self.base.items()
        }


@dataclass(frozen=True)
class Average:
    """The average of the weights over the last part of the training.

    Attributes:
        average: of the weights, None where the training ended before its last part.
        seconds: see `Remedy`.
    """

    average: State | None
    seconds: float
    name: str = "average"

    def weights(self) -> tuple[State | None, str]:
        if self.average is None:
            return None, "the training ended before there was anything to average."
        return self.average, "the weights of the training's last part were averaged."


@dataclass(frozen=True)
class LowerRate:
    """One more training from the base model, at a lower learning rate, with what time is left.

    Attributes:
        train: trains, and gives the best weights; None where it cannot, with the reason.
        seconds: see `Remedy`.
    """

    train: Callable[[], tuple[State | None, str]]
    seconds: float
    name: str = "lower_rate"

    def weights(self) -> tuple[State | None, str]:
        return self.train()


@dataclass(frozen=True)
class Workshop:
    """Tries remedies.

    Attributes:
        path: the update file; a candidate replaces it where it is the better one.
        write: writes weights as an update file.
        judge: the gate's verdict on a file.
        time_left: seconds; infinite without a deadline.
        check: called before each remedy; raises where the training was asked to stop.
        note: called with a sentence about each step.
    """

    path: Path
    write: Callable[[Path, State], Update]
    judge: Callable[[Path], Verdict]
    time_left: Callable[[], float] = lambda: math.inf
    check: Callable[[], None] = lambda: None
    note: Callable[[str], None] = lambda _: None

    def improve(
        self, update: Update, verdict: Verdict, remedies: Sequence[Callable[[], Remedy]]
    ) -> tuple[Update, Verdict]:
        """The update and its verdict after as many remedies as it needs; the better one where none is enough.

        Args:
            update: as it was trained.
            verdict: on it.
            remedies: in their order.
        """
        tried: list[str] = []
        for make in remedies:
            if verdict.passed or verdict.misread:
                break
            self.check()
            remedy = make()
            if self.time_left() < remedy.seconds:
                self.note(f"There is no time left for {remedy.name}.")
                continue
            tried.append(remedy.name)
            candidate_path = self.path.with_name(f"candidate-{self.path.name}")
            try:
                weights, words = remedy.weights()
                self.note(f"Remedy {remedy.name}: {words}")
                if weights is None:
                    continue
                candidate = self.write(candidate_path, weights)
            except TrainingDiverged as error:
                self.note(f"Remedy {remedy.name}: {error.message}")
                continue
            judged = self.judge(candidate_path)
            if judged.passed or _low(judged) > _low(verdict):
                candidate_path.replace(self.path)
                update, verdict = replace(candidate, path=self.path), judged
            else:
                candidate_path.unlink()
        return update, after_remedies(verdict, tried)


def _low(verdict: Verdict) -> float:
    """The lower end of a verdict's interval; only measured updates need a remedy."""
    return -1.0 if verdict.gain is None else verdict.gain.low
