"""Remedies run in order, only if needed, within the remaining time. The better update stays."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from decloud_pl.domain import RemedyName, Update
from decloud_pl.errors import TrainingDiverged, TrainingStopped
from decloud_pl.train.progress import Progress, Supervisor
from decloud_pl.train.score.gate import Verdict
from decloud_pl.train.score.remedies import Remedy, State, improve, rescaled
from decloud_pl.train.score.scorer import Gain

BASE = {"w": torch.zeros(4), "count": torch.tensor(3)}
TRAINED = {"w": torch.ones(4), "count": torch.tensor(5)}


def closeness(goal: float) -> Callable[[Mapping[str, torch.Tensor]], float]:
    """Return an accuracy that grows as the weights approach a goal."""
    return lambda state: 1 - float((state["w"] - goal).abs().mean()) / 10


@pytest.mark.parametrize(("goal", "best"), [(0.3, 0.25), (0.52, 0.5), (1.4, 1.5), (0.7, 0.75)])
def test_the_line_search_finds_the_size_that_does_best(goal: float, best: float) -> None:
    weights, words = rescaled(BASE, TRAINED, closeness(goal))
    assert weights is not None
    assert weights["w"].tolist() == pytest.approx([best] * 4)
    assert int(weights["count"]) == 5
    assert f"scaled by {best:g}" in words


def test_the_line_search_keeps_what_was_trained_where_nothing_is_better() -> None:
    assert rescaled(BASE, TRAINED, closeness(1.0))[0] is None
    assert rescaled(BASE, TRAINED, lambda state: 0.5, trained_score=0.5)[0] is None


class Fixed:
    """A remedy with a given result."""

    def __init__(self, name: RemedyName, low: float | None, seconds: float = 1.0) -> None:
        self.low = low
        self.asked = 0
        self.remedy = Remedy(name, seconds, self.weights)

    def weights(self) -> tuple[State | None, str]:
        self.asked += 1
        return (None, "nothing.") if self.low is None else ({"w": torch.tensor(self.low)}, "found.")


def verdict_of(low: float) -> Verdict:
    gain = Gain(0.5, 0.5 + low, low, low + 0.1, 100)
    return Verdict(gain) if low > 0 else Verdict(gain, "it gains nothing")


class Bench:
    """An update on disk whose content is the lower end of its gain."""

    def __init__(self, folder: Path, low: float = -0.5, left: float = math.inf) -> None:
        self.path = folder / "update.pt"
        self.notes: list[str] = []
        self.update, self.verdict = self.write(self.path, {"w": torch.tensor(low)}), verdict_of(low)
        self.stop = False
        self._supervisor = Supervisor(self._heard, lambda: self.stop, monotonic=lambda: 0.0, finish_at=left)

    def _heard(self, progress: Progress) -> None:
        assert progress.stage == "remedy"
        self.notes.append(progress.note)

    def write(self, path: Path, state: State) -> Update:
        torch.save(float(state["w"]), path)
        return Update(path, str(float(state["w"])), "kubo-v1", 1, "delta", 0.0, 0.0)

    def judge(self, path: Path) -> Verdict:
        return verdict_of(torch.load(path))

    def improve(self, *tried: Fixed) -> tuple[Update, Verdict]:
        remedies = [one.remedy for one in tried]
        return improve(
            self.update, self.verdict, remedies, write=self.write, judge=self.judge, supervisor=self._supervisor
        )


def test_the_first_remedy_that_helps_is_the_last_one_tried(tmp_path: Path) -> None:
    bench, last = Bench(tmp_path), Fixed("lower_rate", 0.3)
    update, verdict = bench.improve(Fixed("scale", -0.25), Fixed("average", 0.25), last)
    assert verdict.passed
    assert (update.cid, update.path, torch.load(bench.path)) == ("0.25", bench.path, 0.25)
    assert last.asked == 0
    assert [path.name for path in tmp_path.iterdir()] == ["update.pt"]


def test_where_none_helps_the_best_stays_and_all_are_named(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    update, verdict = bench.improve(Fixed("scale", -0.25), Fixed("average", None), Fixed("lower_rate", -0.375))
    assert verdict.withheld == "it gains nothing; scale, average and lower_rate did not help"
    assert (update.cid, torch.load(bench.path)) == ("-0.25", -0.25)
    assert [path.name for path in tmp_path.iterdir()] == ["update.pt"]


def test_what_takes_longer_than_is_left_is_left_out(tmp_path: Path) -> None:
    bench, long = Bench(tmp_path, left=10.0), Fixed("scale", 0.3, seconds=11.0)
    _, verdict = bench.improve(long, Fixed("average", -0.6))
    assert long.asked == 0
    assert bench.notes[0] == "No time is left for the remedy scale."
    assert verdict.withheld == "it gains nothing; average did not help"
    assert torch.load(bench.path) == -0.5


def test_other_weights_do_not_help_a_file_that_is_misread(tmp_path: Path) -> None:
    bench, remedy = Bench(tmp_path), Fixed("scale", 0.3)
    bench.verdict = Verdict(bench.verdict.gain, "set update.convention=gradient", misread=True)
    assert bench.improve(remedy)[1] == bench.verdict
    assert remedy.asked == 0


def test_a_remedy_that_diverges_did_not_help(tmp_path: Path) -> None:
    class Diverging(Fixed):
        def weights(self) -> tuple[State | None, str]:
            raise TrainingDiverged("The training diverged.")

    bench = Bench(tmp_path)
    _, verdict = bench.improve(Diverging("lower_rate", None))
    assert verdict.withheld == "it gains nothing; lower_rate did not help"
    assert bench.notes == ["Remedy lower_rate: The training diverged."]


def test_a_stop_is_heeded_between_remedies(tmp_path: Path) -> None:
    bench, remedy = Bench(tmp_path), Fixed("scale", 0.3)
    bench.stop = True
    with pytest.raises(TrainingStopped):
        bench.improve(remedy)
    assert remedy.asked == 0
