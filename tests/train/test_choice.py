"""One choice among the weights of a training, on one half of the held-out part, within the remaining time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import pytest
import torch
from torch import nn

from decloud_pl.domain import CANDIDATES, CandidateName
from decloud_pl.errors import TrainingStopped
from decloud_pl.train.callbacks.average import AverageWeights
from decloud_pl.train.callbacks.best import BestWeights
from decloud_pl.train.progress import Progress, Supervisor
from decloud_pl.train.score.choice import Choice, mixed, seconds_after_the_fit

State = Mapping[str, torch.Tensor]
ALL: tuple[CandidateName, ...] = CANDIDATES


class Network(nn.Module):
    """Two weights and a counter."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(values))
        self.register_buffer("count", torch.tensor(5))


BASE = {"w": torch.zeros(2), "count": torch.tensor(3)}


class Bench:
    """A choice whose accuracy grows as the weights approach a goal. Each score takes a second."""

    def __init__(
        self,
        goal: tuple[float, float],
        *,
        validated: tuple[tuple[float, float], ...] = (),
        moving: tuple[float, float] | None = None,
        mean: tuple[float, float] | None = None,
        names: tuple[CandidateName, ...] = ALL,
        left: float = math.inf,
        measured: bool = True,
    ) -> None:
        self.goal = torch.tensor(goal)
        self.scored: list[list[float]] = []
        self.notes: list[str] = []
        self.silent: list[int] = []  # how many scores each report had to wait for
        self.stop = False
        self._measured = measured
        best = BestWeights(score=self.score, keep=3)
        kept = [(self.accuracy({"w": torch.tensor(one)}), Network(*one).state_dict()) for one in validated]
        best.load_state_dict({"kept": sorted(kept, key=lambda one: -one[0]), "seen": 0.0})
        average = AverageWeights()
        seen = [{"w": torch.tensor(one)} if one else {} for one in (moving, mean)]
        counts = {"step": 1, "seen": int(moving is not None), "count": int(mean is not None)}
        average.load_state_dict({**counts, "moving": seen[0], "mean": seen[1]})
        supervisor = Supervisor(self._heard, lambda: self.stop, monotonic=lambda: len(self.scored), finish_at=left)
        self.choice = Choice(BASE, names, best, average, self.score, supervisor, lambda: 1.0)

    def _heard(self, progress: Progress) -> None:
        assert progress.stage == "choose"
        assert progress.accuracy is None  # the curves must show the training and not each candidate
        self.silent.append(len(self.scored) - sum(self.silent))
        if progress.note:
            self.notes.append(progress.note)

    def accuracy(self, state: State) -> float:
        return 1 - float((state["w"] - self.goal).abs().mean()) / 10

    def score(self, state: State) -> float | None:
        self.scored.append(cast(Any, state["w"]).tolist())
        return self.accuracy(state) if self._measured else None

    def choose(self, *last: float) -> list[float]:
        chosen = self.choice(Network(*last))
        assert int(chosen["count"]) == 5
        weights: list[float] = cast(Any, chosen["w"]).tolist()
        return weights


LINE = (1.0, 1.0)


@pytest.mark.parametrize(
    ("goal", "given", "chosen"),
    [
        (LINE, {}, LINE),  # the last weights
        ((3.0, 1.0), {"validated": ((3.0, 1.0), (9.0, 9.0))}, (3.0, 1.0)),
        ((2.0, 1.0), {"moving": (2.0, 1.0), "mean": (8.0, 8.0)}, (2.0, 1.0)),
        ((1.0, 2.0), {"moving": (8.0, 8.0), "mean": (1.0, 2.0)}, (1.0, 2.0)),
        ((2.0, 2.0), {"validated": ((3.0, 3.0), (1.5, 1.5), (9.0, 9.0))}, (2.0, 2.0)),  # the soup of three
        ((0.25, 0.25), {}, (0.25, 0.25)),  # a smaller update
        ((1.5, 1.5), {}, (1.5, 1.5)),  # a larger one
    ],
)
def test_the_candidate_with_the_best_accuracy_is_chosen(
    goal: tuple[float, float], given: dict[str, Any], chosen: tuple[float, float]
) -> None:
    last = (1.5, 1.5) if len(given.get("validated", ())) == 3 else LINE
    bench = Bench(goal, **given)
    assert bench.choose(*last) == pytest.approx(chosen)
    assert bench.choice.accuracy == pytest.approx(1.0)
    assert len(bench.notes) == 1


def test_a_soup_takes_what_helps_and_nothing_else() -> None:
    bench = Bench((2.0, 2.0), validated=((1.0, 2.0), (3.0, 2.0)), mean=(2.0, 30.0), names=("average", "soup"))
    assert bench.choose(9.0, 9.0) == [2.0, 2.0]
    assert bench.notes[0].startswith(
        "Of 5 candidates, the average of 2 candidates is chosen: it reaches 100.0%, and the trained "
    )


def test_scaled_is_what_was_best_before() -> None:
    bench = Bench((1.0, 1.0), moving=(2.0, 2.0), names=("ema", "scale"))
    assert bench.choose(4.0, 4.0) == [1.0, 1.0]
    assert "the update of the moving average scaled by 0.5 is chosen: it reaches 100.0%" in bench.notes[0]


def test_among_equal_candidates_the_trained_weights_stay() -> None:
    bench = Bench(LINE, moving=LINE, mean=LINE)
    bench.choose(*LINE)
    assert bench.notes == [
        (
            "Of 10 candidates, the trained weights are chosen: they reach 100.0% on the half of the held-out part that"
            " is used for choosing."
        )
    ]


@pytest.mark.parametrize("left", [0.0, 8.0, 10.0, 12.0, 100.0])
def test_candidates_are_compared_only_while_the_file_and_its_verdict_still_fit(left: float) -> None:
    bench = Bench((3.0, 3.0), moving=(2.0, 2.0), mean=(2.5, 2.5), left=left)
    assert bench.choose(*LINE)
    # A score takes 1 s, the file and the verdict take 5 s. The last weights are always scored.
    last = 1 + max(0, min(9, int(left) - 6))
    assert len(bench.scored) == last


def test_without_candidates_or_measurements_it_is_the_trained_weights() -> None:
    for bench in (Bench((3.0, 3.0), moving=(3.0, 3.0), names=()), Bench((3.0, 3.0), measured=False)):
        assert bench.choose(*LINE) == [*LINE]
        assert bench.notes == []


def test_weights_that_are_not_finite_are_no_candidates() -> None:
    endless = (math.inf, 1.0)
    bench = Bench((3.0, 3.0), validated=((2.0, 2.0),), moving=endless, mean=(3.0, 3.0), names=("ema", "average"))
    assert bench.choose(*endless) == [3.0, 3.0]
    assert bench.notes[0].startswith("Of 2 candidates, the average over the last part")
    # Without finite ones the writer refuses what the training gave.
    assert Bench((3.0, 3.0), mean=(3.0, 3.0)).choose(*endless) == [*endless]


@pytest.mark.parametrize("measured", [True, False])
def test_each_score_is_reported(measured: bool) -> None:
    """A worker that reports nothing for too long is ended."""
    bench = Bench((9.0, 9.0), moving=(2.0, 2.0), mean=(2.5, 2.5), measured=measured)
    bench.choose(*LINE)
    assert len(bench.scored) == (10 if measured else 1)
    assert max(bench.silent) == 1
    assert sum(bench.silent) == len(bench.scored)


def test_a_stop_is_heeded_between_two_scores() -> None:
    bench = Bench((3.0, 3.0), moving=(2.0, 2.0))
    bench.stop = True
    with pytest.raises(TrainingStopped):
        bench.choose(*LINE)
    assert len(bench.scored) == 1


def test_the_time_reserved_after_the_fit_covers_all_scores() -> None:
    bench = Bench((9.0, 9.0), validated=((1.0, 2.0), (2.0, 2.0), (3.0, 3.0)), moving=(2.0, 1.0), mean=(2.5, 2.0))
    bench.choose(*LINE)
    assert 5.0 + len(bench.scored) - 1 <= seconds_after_the_fit(ALL, 1.0, math.inf)
    assert seconds_after_the_fit((), 1.0, math.inf) == 5.0


def test_the_choice_gets_at_most_a_tenth_of_the_time_that_is_left() -> None:
    assert seconds_after_the_fit(ALL, 1.0, 50.0) == 5.0 + 5.0
    assert seconds_after_the_fit(ALL, 1.0, -1.0) == 5.0


def test_a_mixture_keeps_integers_and_reaches_both_ends() -> None:
    end = {"w": torch.tensor([2.0, 4.0]), "count": torch.tensor(9)}
    for share, expected in ((0.0, [0.0, 0.0]), (0.5, [1.0, 2.0]), (1.0, [2.0, 4.0])):
        state = mixed(BASE, end, share)
        assert (state["w"].tolist(), int(state["count"])) == (expected, 9)
