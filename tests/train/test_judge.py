"""The gate's verdict on files: it withholds what validators cannot load, and what earns less than it costs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from decloud_pl.data.source import ImageSplit
from decloud_pl.domain import Payout, Update
from decloud_pl.train.callbacks.in_round import RoundCallbacks
from decloud_pl.train.fit.setup import FitSetup
from decloud_pl.train.plan import LOWER_RATE_UPDATE_FILE
from decloud_pl.train.progress import Progress, Supervisor
from decloud_pl.train.score.finish import Finisher
from decloud_pl.train.score.gate import Rules
from decloud_pl.train.score.judge import Judge
from decloud_pl.train.score.scorer import Scorer

MakeSetup = Callable[..., FitSetup]


def not_finite(path: Path) -> None:
    entries = torch.load(path, weights_only=True)
    next(iter(entries.values())).view(-1)[0] = float("nan")
    torch.save(entries, path)


def not_finite_and_sparse(path: Path) -> None:
    entries = torch.load(path, weights_only=True)
    name = next(iter(entries))
    entries[name].view(-1)[0] = float("inf")
    torch.save({**entries, name: entries[name].to_sparse()}, path)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants")
@pytest.mark.parametrize("damage", [not_finite, not_finite_and_sparse, truncated])
def test_what_validators_cannot_load_is_withheld(
    damage: Callable[[Path], None], make_setup: MakeSetup, tmp_path: Path
) -> None:
    setup = make_setup("out", payout=Payout(10**9, 1, 5000))
    judge, path = setup.judge(), tmp_path / "update.pt"
    trained = {name: tensor * 1.01 for name, tensor in setup.state.items()}
    judge.writer(setup.config.update, note=lambda _: None).write(path, trained)
    assert not judge.verdict(path).withheld
    damage(path)
    verdict = judge.verdict(path)
    assert verdict.gain is None
    assert verdict.withheld.startswith("validators cannot load the update: ")
    assert str(verdict) == f"Nothing will be submitted: {verdict.withheld}."


class Counting(Scorer):
    """Counts how often it scores weights."""

    scored = 0

    def hits_of(self, network: nn.Module, state: Mapping[str, torch.Tensor]) -> torch.Tensor:
        self.scored += 1
        return super().hits_of(network, state)


@dataclass
class TwoHalves:
    """The halves of a held-out part, which may be the same or differ in their labels."""

    select: Scorer
    judge: Scorer


def test_every_score_after_a_training_is_reported(make_setup: MakeSetup) -> None:
    """A worker that reports nothing for too long is ended, so no two scores may pass without a report."""
    setup = make_setup("out", "update.candidates=[]", "update.top_k=0.01", "update.min_kept=1")
    assert setup.source is not None
    scorer = Counting(setup.source.load("held_out"), setup.base.spec.input)
    judge = Judge(setup.network(), setup.state, TwoHalves(scorer, scorer), Rules("delta", 0.1, "delta"))
    torch.manual_seed(1)
    noisy = {name: tensor + 0.1 * torch.randn_like(tensor) for name, tensor in setup.state.items()}
    worse, better = sorted((setup.state, noisy), key=lambda state: judge.select(state) or 0.0)
    judge = Judge(setup.network(), worse, TwoHalves(scorer, scorer), Rules("delta", 0.1, "delta"))
    judge.base_accuracy()  # scored during the training
    scorer.scored = 0
    heard: list[tuple[str, int]] = []
    supervisor = Supervisor(lambda progress: heard.append((progress.stage, scorer.scored)))
    callbacks = RoundCallbacks.of(setup, setup.network(), judge, supervisor)
    update, _ = callbacks.writer.write(setup.round.folder / "update.pt", better)
    assert ("encode", 4) in heard  # the base model, the trained weights and two encodings
    Finisher(setup, judge, callbacks, supervisor)(update)
    assert heard[-1] == ("score", 6)  # the gain is not certain, so the other convention is scored, too
    counts = [0, *(count for _, count in heard)]
    assert max(after - before for before, after in itertools.pairwise(counts)) == 1


def test_the_same_weights_are_scored_once_on_the_half_for_choosing(make_setup: MakeSetup) -> None:
    setup = make_setup("out")
    assert setup.source is not None
    scorer = Counting(setup.source.load("held_out"), setup.base.spec.input)
    judge = Judge(setup.network(), setup.state, TwoHalves(scorer, scorer), Rules("delta", 0.1, "delta"))
    first = judge.select(setup.state)
    assert (first, scorer.scored) == (judge.select(dict(setup.state)), 1)
    other = {name: -tensor for name, tensor in setup.state.items()}
    copied = {name: tensor.clone() for name, tensor in other.items()}
    assert judge.select(other) == judge.select(copied) != first
    assert scorer.scored == 2


def test_a_second_update_that_is_withheld_does_not_replace_the_first(make_setup: MakeSetup) -> None:
    """The second training predicts the labels of the half for choosing, and the first those of the other half."""
    setup = make_setup("out", "learning_rate=0.05", "update.candidates=[lower_rate]")
    assert setup.source is not None
    split, spec = setup.source.load("held_out"), setup.base.spec.input
    assert isinstance(split, ImageSplit)
    select = Scorer(split, spec)
    torch.manual_seed(1)
    first = {name: tensor + 0.5 * torch.randn_like(tensor) for name, tensor in setup.state.items()}
    predicted = select.predictions_of(setup.network(), first).numpy()
    halves = TwoHalves(select, Scorer(replace(split, labels=predicted), spec))
    judge = Judge(setup.network(), setup.state, halves, Rules("delta", 0.1, "delta", min_gain=0.0))
    heard: list[Progress] = []
    judged: list[Update] = []
    callbacks = RoundCallbacks.of(setup, setup.network(), judge, Supervisor(heard.append))
    update, _ = callbacks.writer.write(setup.round.folder / "update.pt", first)
    callbacks.choice.weights, callbacks.choice.accuracy = first, judge.select(first)
    kept = Finisher(setup, judge, callbacks, Supervisor(heard.append))(update, judged.append)
    assert update.path.with_name(LOWER_RATE_UPDATE_FILE).exists()
    assert "a gain of more than 0 is not certain" in heard[-1].note
    assert (judged, kept.path, kept.cid, kept.withheld) == ([kept], update.path, update.cid, "")
    assert callbacks.choice.weights is first
