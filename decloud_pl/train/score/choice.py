"""Choose the weights to submit from the candidates of one training.

The candidates are compared by their accuracy on one half of the held-out part, the half for choosing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from decloud_pl.domain import CandidateName
from decloud_pl.train.callbacks.average import AverageWeights
from decloud_pl.train.callbacks.best import BestWeights
from decloud_pl.train.progress import Progress, Supervisor

State = Mapping[str, torch.Tensor]

SOUP_CHECKPOINTS = 3
"""How many of the best validated weights are ingredients of the soup."""
_TRAINED = "the trained weights"
_SCALES = (0.75, 1.25, 0.5, 1.5, 0.25)

# Durations in units of scoring the base model on one half of the held-out part. Each candidate takes one such scoring,
# and the encoding one or a few. The verdict takes one, and another if it searches for a cause.
WRITE_AND_JUDGE = 4.0
SLACK = 1.0
LEAST_TRAINING = 8.0
_MOST_OF_THE_TIME = 0.1
_SCORES: Mapping[CandidateName, int] = {"ema": 1, "average": 1, "soup": SOUP_CHECKPOINTS + 1, "scale": len(_SCALES)}


def seconds_after_the_fit(candidates: Iterable[CandidateName], scoring: float, time_left: float) -> float:
    """Return the seconds to reserve for the work after the last training step.

    In this time, the weights are chosen, the update's file is written, and the gate judges the update. The choice gets
    at most a tenth of the time that is left, because additional steps raise the accuracy more than additional
    candidates.

    Args:
        candidates: the names of the candidates to score.
        scoring: the time in seconds for scoring the base model on one half of the held-out part.
        time_left: seconds until the deadline.
    """
    scores = sum(_SCORES.get(name, 0) for name in candidates)
    return (WRITE_AND_JUDGE + SLACK) * scoring + min(scores * scoring, _MOST_OF_THE_TIME * max(0.0, time_left))


def mixed(start: State, end: State, share: float) -> dict[str, torch.Tensor]:
    """Return the state ``start + share × (end − start)``. Integer tensors come from ``end``."""
    return {
        name: one + share * (end[name].cpu() - one) if one.is_floating_point() else end[name].cpu()
        for name, one in start.items()
    }


@dataclass
class Choice:
    """Chooses the weights to submit. If the time runs out, the remaining candidates are not scored.

    Attributes:
        base: the base model's state.
        candidates: the names of the candidates to compute and to compare with the weights in ``best``.
        best: holds the most accurate weights that the training reached at its validations and its last step.
        average: holds averages of the weights over the training; None if no candidate needs them.
        score: returns the accuracy of a state on the half for choosing; None if it cannot be measured.
        supervisor: has the deadline. It receives a report after each scoring, and the result.
        seconds: returns the time in seconds for scoring the base model on one half of the held-out part.
        weights: the chosen weights; empty before the choice.
        accuracy: accuracy of the chosen weights on the half for choosing; None if it was not measured.
    """

    base: State
    candidates: tuple[CandidateName, ...]
    best: BestWeights
    average: AverageWeights | None
    score: Callable[[State], float | None]
    supervisor: Supervisor
    seconds: Callable[[], float]
    weights: State = field(default_factory=dict, init=False)
    accuracy: float | None = field(default=None, init=False)
    _words: str = field(default=_TRAINED, init=False)
    _compared: int = field(default=1, init=False)

    def __call__(self, network: nn.Module) -> State:
        """Return the most accurate weights: those that the training reached, or a candidate computed from them.

        Raises:
            TrainingStopped: a stop was requested.
        """
        self.weights, self.accuracy = self.best.weights(network), self.best.accuracy
        self._report()
        finite = [one for one in self.best.kept if _is_finite(one[1])]
        # If no weights are finite, the writer refuses them as those of a training that diverged.
        if self.accuracy is not None and self.candidates and finite:
            self.accuracy, self.weights = finite[0]
            self._choose(network, finite)
        return self.weights

    def _choose(self, network: nn.Module, trained: list[tuple[float, State]]) -> None:
        ingredients = list(trained)
        for words, state in self._averages(network):
            accuracy = self._try(words, state)
            if accuracy is not None:
                ingredients.append((accuracy, state))
        if "soup" in self.candidates:
            self._soup(sorted(ingredients, key=lambda one: -one[0]))
        if "scale" in self.candidates:
            self._scale()
        if self._compared > 1:
            if self._words == _TRAINED:
                words = "the trained weights are chosen: they"
            else:
                words = f"{self._words} is chosen: it reaches {self.accuracy:.1%}, and the trained weights"
            reached = f"reach {trained[0][0]:.1%} on the half of the held-out part that is used for choosing"
            self.supervisor.note("choose", f"Of {self._compared} candidates, {words} {reached}.")

    def _averages(self, network: nn.Module) -> Iterable[tuple[str, State]]:
        average = self.average
        if average is not None and "ema" in self.candidates and average.seen:
            yield "the moving average", average.moving(network)
        if average is not None and "average" in self.candidates and average.count:
            yield "the average over the last part of the training", average.weights(network)

    def _soup(self, ingredients: list[tuple[float, State]]) -> None:
        """Add the candidates to an average, one after another, the best first (https://arxiv.org/abs/2203.05482).

        A candidate that would lower the accuracy of the average is left out.
        """
        (accuracy, soup), *others = ingredients
        count = 1
        for _, state in others:
            trial = mixed(soup, state, 1 / (count + 1))
            scored = self._try(f"the average of {count + 1} candidates", trial)
            if scored is not None and scored >= accuracy:
                accuracy, soup, count = scored, trial, count + 1

    def _scale(self) -> None:
        """Try several scales for the update of the best weights so far.

        For each scale, score the base model plus the scaled update.
        """
        whole, words = self.weights, self._words
        for scale in _SCALES:  # among equal scores, the scale nearest to the trained weights
            self._try(f"the update of {words} scaled by {scale:g}", mixed(self.base, whole, scale))

    def _try(self, words: str, state: State) -> float | None:
        """Score a candidate, choose it if it is better than the best so far, and return its accuracy.

        Return None if too little time is left or the candidate cannot be scored.
        """
        self.supervisor.check_stop()
        if self.supervisor.time_left() < (WRITE_AND_JUDGE + SLACK + 1) * self.seconds():
            return None
        accuracy = self.score(state) if _is_finite(state) else None
        self._report()
        if accuracy is None or self.accuracy is None:
            return None
        self._compared += 1
        if accuracy > self.accuracy:
            self.weights, self.accuracy, self._words = state, accuracy, words
        return accuracy

    def _report(self) -> None:
        # A training without reports counts as hung. The report has no accuracy, because that of a candidate is not a
        # step of the training's curve.
        self.supervisor.report(Progress("choose"))


def _is_finite(state: State) -> bool:
    """Return whether all values are finite. If not, the weights cannot be submitted, even if they are accurate."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in state.values())
