"""A last fit on all the training data replaces the judged update only within narrow bounds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import seed_everything
from torch import nn

from decloud_pl.domain import Update
from decloud_pl.errors import MachineShortage
from decloud_pl.executors.process import UPDATE_FILE
from decloud_pl.executors.update_file import read_update, write_update
from decloud_pl.models.base_model import BaseModel
from decloud_pl.models.inputs import ImageInput
from decloud_pl.models.package import save
from decloud_pl.models.spec import ModelSpec
from decloud_pl.store.ipfs.unixfs import cid_of_file
from decloud_pl.train.callbacks.delta import trained_network
from decloud_pl.train.callbacks.in_round import RoundCallbacks
from decloud_pl.train.fit.setup import FitSetup
from decloud_pl.train.plan import LAST_UPDATE_FILE, TrainingPlan
from decloud_pl.train.progress import Progress, Supervisor
from decloud_pl.train.run import train_round
from decloud_pl.train.score.finish import Finisher
from decloud_pl.train.score.judge import Judge
from decloud_pl.train.score.last_fit import LastFit

MakeSetup = Callable[..., FitSetup]
MakePlan = Callable[..., TrainingPlan]
COURSE = ("update.last_fit=true", "epochs=3", "learning_rate=0.01", "update.candidates=[]")


@dataclass
class Judged:
    """A judged update, from which a last fit continues."""

    setup: FitSetup
    judge: Judge
    callbacks: RoundCallbacks
    update: Update
    steps: int

    @classmethod
    def of(cls, setup: FitSetup) -> Judged:
        seed_everything(setup.config.seed, workers=True, verbose=False)
        judge, module = setup.judge(), setup.module()
        callbacks = RoundCallbacks.of(setup, trained_network(module, setup.state), judge, Supervisor())
        fit = setup.fit(module, callbacks.in_order)
        fit.run()
        assert callbacks.outbox.update is not None
        update = Finisher(setup, judge, callbacks, Supervisor())(callbacks.outbox.update)
        return cls(setup, judge, callbacks, update, fit.trainer.global_step)

    def last_fit(
        self, *, update: Update | None = None, left: float = 1e6, stop: bool = False, **fields: Any
    ) -> tuple[Update, list[Progress]]:
        heard: list[Progress] = []
        supervisor = Supervisor(heard.append, lambda: stop, monotonic=lambda: 0.0, finish_at=left)
        values = {"setup": self.setup, "steps": self.steps, "supervisor": supervisor, **fields}
        writer, weights = self.callbacks.writer, self.callbacks.choice.weights
        last = LastFit(judge=self.judge, writer=writer, weights=weights, scoring=0.5, **values)
        before = self.update.path.read_bytes()
        result = last.after(update or self.update)
        assert self.update.path.read_bytes() == before
        return result, heard


def at_rate(setup: FitSetup, rate: float, **optimizer: Any) -> FitSetup:
    return setup.with_nodes(optimizer={**setup.config.optimizer, "lr": rate, **optimizer})


def test_a_last_fit_that_predicts_the_same_is_submitted_with_the_judged_accuracies(make_setup: MakeSetup) -> None:
    judged = Judged.of(make_setup("out", *COURSE))
    last, heard = judged.last_fit(setup=at_rate(judged.setup, 1e-4))
    assert last.path == judged.update.path.with_name(LAST_UPDATE_FILE)
    assert (last.cid, last.size) == (str(cid_of_file(last.path, last.profile)), last.path.stat().st_size)
    assert last.cid != judged.update.cid
    first = judged.update
    assert dataclasses.replace(last, path=first.path, cid=first.cid, size=first.size) == first
    assert "The update of the last fit is submitted." in heard[-1].note
    assert {progress.stage for progress in heard} == {"last fit"}


class NormSpec(ModelSpec):
    """A perceptron with a batch norm for images of 8 by 8 pixels."""

    def network(self) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10))


@pytest.mark.parametrize("convention", ["delta", "gradient"])
def test_a_batch_norm_goes_on_with_its_trained_statistics(convention: str, make_plan: MakePlan, tmp_path: Path) -> None:
    """An update for the ``gradient`` convention has these statistics in its parameters."""
    torch.manual_seed(0)
    spec, path = NormSpec("norm", {}, ImageInput(size=8)), tmp_path / "norm.safetensors"
    save(path, spec, spec.network().state_dict())
    plan = make_plan("out", *COURSE, base_model=path, convention=convention, read_as=convention)
    judged = Judged.of(FitSetup.of(plan, BaseModel(spec, path, 10)))
    last, heard = judged.last_fit(setup=at_rate(judged.setup, 1e-4))
    assert last.path == judged.update.path.with_name(LAST_UPDATE_FILE), heard[-1].note


def test_it_continues_from_the_training_at_a_lower_rate_if_that_one_is_judged(make_setup: MakeSetup) -> None:
    judged = Judged.of(make_setup("out", "epochs=3", "learning_rate=1.0", "update.candidates=[lower_rate]"))
    applied, choice = judged.judge.applied(judged.update.path), judged.callbacks.choice
    assert choice.weights is not choice.best.kept[0][1]  # those of the first training
    for name, tensor in choice.weights.items():
        torch.testing.assert_close(tensor, applied[name], atol=1e-2, rtol=0)


def test_it_trains_on_the_held_out_part_too_and_takes_no_more_steps_than_the_judged_training(
    make_setup: MakeSetup,
) -> None:
    judged = Judged.of(make_setup("out", *COURSE, "batch_size=64"))
    source = judged.setup.source
    assert source is not None
    rows = len(source.load("train")) + len(source.load("held_out"))
    whole = at_rate(judged.setup, 1e-4)
    _, heard = judged.last_fit(setup=whole, steps=10**6)
    assert max(progress.step for progress in heard) == 3 * math.ceil(rows / 64) > judged.steps
    _, heard = judged.last_fit(setup=whole)
    assert max(progress.step for progress in heard) == judged.steps


def test_the_judged_update_stays_if_the_last_fit_fails_or_predicts_something_else(make_setup: MakeSetup) -> None:
    judged = Judged.of(make_setup("out", *COURSE))
    for rate, words in (
        (10.0, "at least 97% is required. The judged update is submitted instead."),
        (1e39, "failed: The training diverged: "),
    ):
        last, heard = judged.last_fit(setup=at_rate(judged.setup, rate))
        assert last == judged.update
        assert words in heard[-1].note
        assert not judged.update.path.with_name(LAST_UPDATE_FILE).exists()
    # A stop ends the last fit only.
    assert judged.last_fit(stop=True)[0] == judged.update


def test_without_time_certainty_or_permission_there_is_no_last_fit(make_setup: MakeSetup) -> None:
    judged = Judged.of(make_setup("out", *COURSE))
    setup, update = judged.setup, judged.update
    off = dataclasses.replace(setup.config.update, last_fit=False)
    test_split = dataclasses.replace(setup.plan, round=dataclasses.replace(setup.round, score_split="test"))
    own = {name: value for name, value in setup.config.optimizer.items() if name != "lr"}
    assert update.gain is not None
    for fields in (
        {"left": 6.4},
        {"supervisor": Supervisor()},  # no deadline
        {"setup": setup.with_nodes(update=off)},
        {"setup": dataclasses.replace(setup, plan=test_split)},
        {"setup": setup.with_nodes(optimizer=own)},
        {"steps": 0},
        {"update": dataclasses.replace(update, withheld="it loses")},
        {"update": dataclasses.replace(update, gain_low=None)},
        {"update": dataclasses.replace(update, gain_low=0.49 * update.gain)},
        {"update": dataclasses.replace(update, accuracy_after=0.0, gain_low=0.1)},
    ):
        result, heard = judged.last_fit(**fields)
        assert result == fields.get("update", update), fields
        assert heard == [], fields


def test_a_crash_in_the_last_fit_loses_nothing(make_plan: MakePlan) -> None:
    """The judged update is on disk before the last fit begins."""
    plan = make_plan("a", "max_batches=20", "update.last_fit=true", finish_by=1e6)
    folder, steps = plan.round.folder, 0

    def report(progress: Progress) -> None:
        nonlocal steps
        if progress.stage == "last fit" and progress.step:
            steps = progress.step
            raise MemoryError

    def judged(update: Update) -> None:
        assert not steps
        write_update(folder / UPDATE_FILE, update)

    with pytest.raises(MachineShortage):
        train_round(plan, Supervisor(report, monotonic=lambda: 0.0), now=0.0, judged=judged)
    assert steps == 1
    kept = read_update(folder / UPDATE_FILE)
    assert kept is not None
    assert kept.withheld == ""
    assert kept.cid == str(cid_of_file(kept.path, kept.profile))


def test_rows_with_other_predictions_are_counted(make_setup: MakeSetup, tmp_path: Path) -> None:
    setup = make_setup("out")
    judge, paths = setup.judge(), [tmp_path / "one.pt", tmp_path / "other.pt"]
    last = next(name for name in reversed(setup.state) if name.endswith("bias"))
    writer = judge.writer(setup.config.update, note=lambda _: None)
    for path, favoured in zip(paths, (0, 1), strict=True):
        bias = setup.state[last].clone()
        bias[favoured] = 100.0
        writer.write(path, {**setup.state, last: bias})
    scorings: list[int] = []
    assert judge.agreement(paths[0], paths[0], scored=lambda: scorings.append(1)) == 1.0
    assert len(scorings) == 4, "a training without reports counts as hung"
    assert judge.agreement(*paths) == 0.0
    entries = torch.load(paths[0], weights_only=True)
    entries[last][0] = float("nan")
    torch.save(entries, paths[1])
    assert judge.agreement(*paths) == 0.0
