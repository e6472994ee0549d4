"""The time until the deadline: the schedule follows it, and a training is planned for it."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import nn

from decloud_pl.config import Settings, compose, load
from decloud_pl.config_dir import config_dir
from decloud_pl.data.formats.digits import Digits
from decloud_pl.data.source import ImageSplit, SplitName
from decloud_pl.errors import ConfigError, TrainingError, TrainingStopped
from decloud_pl.models.base_model import BaseModel
from decloud_pl.models.inputs import ImageInput
from decloud_pl.models.quarantine.opened import hand_over
from decloud_pl.rounds.planner import training_plan
from decloud_pl.train.callbacks.delta import ProgressCallback
from decloud_pl.train.check import check_plan
from decloud_pl.train.fit.checkpoints import CheckpointCallback
from decloud_pl.train.fit.datamodule import RoundDataModule
from decloud_pl.train.fit.deadline import DeadlineCallback
from decloud_pl.train.fit.module import RoundModule
from decloud_pl.train.fit.recipe import candidates, nodes, suits, with_chosen
from decloud_pl.train.fit.schedule import cosine
from decloud_pl.train.plan import BASE_WEIGHTS_FILE, BUDGET_FILE, TrainingPlan
from decloud_pl.train.progress import Progress, Supervisor
from decloud_pl.train.run import train_round
from decloud_pl.train.tune.budget import Pace, choose
from tests.data import tiny

MakePlan = Callable[..., TrainingPlan]
DATASETS = sorted(path.stem for path in (config_dir() / "dataset").glob("*.yaml"))
DEFAULTS = compose()
RECIPES = candidates(DEFAULTS)
MIRRORED = {"cifar10", "cifar100", "fashionmnist"}
PHOTOGRAPHS = {"cifar10", "cifar100"}


class Drive(Callback):
    """Advances a clock by given seconds with each step, and keeps the rate of each step."""

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self.time = 100.0
        self.rates: list[float] = []
        self._seconds = seconds

    def __call__(self) -> float:
        return self.time

    def on_train_batch_start(self, trainer: Trainer, *arguments: Any) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.time += self._seconds(trainer.global_step)


def fit(
    tmp_path: Path, drive: Drive, deadline: Callback, *also: Callback, epochs: int, checkpoint: Path | None = None
) -> Trainer:
    """Train for at most ``epochs`` of ten steps, with half a cosine from 1 to 0."""
    module = RoundModule(
        nn.Sequential(nn.Flatten(), nn.Linear(192, 10)),
        num_classes=10,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1.0),
        scheduler=cosine,
    )
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        limit_train_batches=10,
        limit_val_batches=0,
        callbacks=[drive, deadline, *also],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, RoundDataModule(Digits("digits"), ImageInput(size=8), batch_size=64), ckpt_path=checkpoint)
    return trainer


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(lambda step: 1.0, id="steady"),
        pytest.param(lambda step: 0.5 if step < 20 else 2.0, id="slows down"),
        pytest.param(lambda step: 2.0 if step < 10 else 0.5, id="recovers"),
    ],
)
def test_the_rate_falls_to_zero_at_the_deadline(seconds: Callable[[int], float], tmp_path: Path) -> None:
    drive = Drive(seconds)
    deadline = DeadlineCallback(999.0, monotonic=drive, planned_seconds=40.0)
    trainer = fit(tmp_path, drive, deadline, epochs=10)  # a hundred steps would never fit
    assert 136 < drive.time <= 140
    assert drive.rates == sorted(drive.rates, reverse=True)
    assert drive.rates[0] == 1.0
    assert drive.rates[-1] < 0.02
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0, abs=0.02)
    assert not deadline.stopped  # the training ends as planned


def test_with_more_time_than_steps_the_rate_falls_by_steps(tmp_path: Path) -> None:
    drive = Drive(lambda step: 1.0)
    trainer = fit(tmp_path, drive, DeadlineCallback(1000.0, monotonic=drive), epochs=2)
    assert trainer.global_step == 20
    assert drive.rates[10] == pytest.approx(0.5)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0)


class StopAt(Callback):
    def on_train_batch_end(self, trainer: Trainer, *arguments: Any) -> None:
        trainer.should_stop = trainer.global_step == 15


def test_a_resumed_fit_continues_its_schedule(tmp_path: Path) -> None:
    path = tmp_path / "training.ckpt"
    first = Drive(lambda step: 1.0)
    also = StopAt(), CheckpointCallback(path, fingerprint="x")
    fit(tmp_path, first, DeadlineCallback(140.0, monotonic=first), *also, epochs=10)
    again = Drive(lambda step: 1.0)
    again.time = 125.0  # after a pause of ten seconds
    trainer = fit(tmp_path, again, DeadlineCallback(140.0, monotonic=again), epochs=10, checkpoint=path)
    assert 28 <= trainer.global_step <= 30
    assert 0.5 < again.rates[0] <= first.rates[-1]
    assert again.rates == sorted(again.rates, reverse=True)
    assert again.rates[-1] < 0.05


def test_the_runs_of_a_fit_share_its_planned_time(tmp_path: Path) -> None:
    path = tmp_path / "training.ckpt"
    first = Drive(lambda step: 1.0)
    also = StopAt(), CheckpointCallback(path, fingerprint="x")
    fit(tmp_path, first, DeadlineCallback(999.0, monotonic=first, planned_seconds=40.0), *also, epochs=10)
    again = Drive(lambda step: 1.0)
    again.time = 500.0
    deadline = DeadlineCallback(999.0, monotonic=again, planned_seconds=40.0)
    deadline.reserve(100.0)  # the deadline remains much later
    trainer = fit(tmp_path, again, deadline, epochs=10, checkpoint=path)
    assert 38 <= trainer.global_step <= 40
    assert again.rates[0] <= first.rates[-1]
    assert again.rates[-1] < 0.05


def test_the_reported_total_is_what_the_time_is_enough_for(tmp_path: Path) -> None:
    drive = Drive(lambda step: 1.0)
    deadline = DeadlineCallback(999.0, monotonic=drive, planned_seconds=40.0)
    told: list[Progress] = []
    trainer = fit(tmp_path, drive, deadline, ProgressCallback(told.append, deadline.share), epochs=10)
    assert trainer.global_step < 42
    assert {one.total_steps for one in told[1:]} == {40}


FAST, SLOW = Pace(1e-6, 0.01, 60), Pace(1e-3, 1.0, 60)


@pytest.mark.parametrize(
    ("pace", "kind", "samples", "base", "recipe"),
    [
        (SLOW, "image", 54_000, 0.1, "short"),
        (Pace(2e-4, 0.1, 60), "image", 54_000, 0.1, "fast"),
        (FAST, "image", 54_000, 0.1, "long"),
        (SLOW, "image", 54_000, 0.88, "finetune_short"),
        (Pace(2e-4, 0.1, 60), "image", 54_000, 0.88, "finetune"),
        (FAST, "image", 54_000, 0.88, "finetune_long"),
        (FAST, "image", 1_300, 0.1, "small"),
        (FAST, "text", 100_000, 0.5, "text"),
    ],
)
def test_the_recipe_suits_time_and_data(pace: Pace, kind: str, samples: int, base: float, recipe: str) -> None:
    epochs = pace.epochs(samples)
    suited = [name for name, one in RECIPES.items() if suits(one, kind=kind, samples=samples, base=base, epochs=epochs)]
    assert suited[0] == recipe


def test_as_many_epochs_as_fit_are_planned() -> None:
    # 100 / (1000 × 0.009 + 1) = 10 epochs, and half as many to spare
    choice = choose({"own": {}}, Pace(0.009, 1.0, 100), samples=1000, base=0.1)
    assert choice.recipe == "own"
    assert choice.epochs == 15
    assert choice.seconds == 100
    assert "10.0 epochs in 100 s" in choice.note


def test_more_epochs_than_a_recipe_can_use_are_not_planned() -> None:
    known = {"own": {"trainer": {"max_epochs": 4}}}
    choice = choose(known, Pace(0.009, 1.0, 100), samples=1000, base=0.1)
    assert choice.epochs == 4


def test_without_a_suitable_recipe_nothing_is_planned() -> None:
    assert not suits({"when": {"kind": "text"}}, kind="image", samples=1, base=0.1, epochs=100)
    assert choose({}, FAST, samples=1, base=0.1).recipe == ""


@pytest.mark.parametrize(
    ("override", "competes"),
    [
        ("seed=1", True),
        ("trainer=cpu", True),
        ("callbacks=ema", True),
        ("callbacks=swa", False),
        ("recipe=long", True),
        ("trainer.val_check_interval=30", True),
        ("epochs=2", False),
        ("trainer.max_epochs=2", False),
        ("batch_size=64", False),
        ("datamodule.batch_size=64", False),
        ("learning_rate=0.01", False),
        ("optimizer.lr=0.01", False),
        ("optimizer=sgd", False),
        ("scheduler=cosine", False),
        ("max_batches=5", False),
        ("preset=quick-test", False),
        ("experiment=fashionmnist", False),
        ("tune=probe", False),
        ("budget=documented", False),
    ],
)
def test_a_training_competes_unless_the_user_sets_how_long_or_fast_it_learns(override: str, competes: bool) -> None:
    settings = compose(["budget=compete", override])
    assert settings.competes(settings.given) is competes


@pytest.mark.parametrize("dataset", DATASETS)
def test_images_are_changed_only_where_that_keeps_their_label(dataset: str) -> None:
    settings = compose([f"dataset={dataset}"])
    for recipe in RECIPES.values():
        if not suits(recipe, kind=settings.dataset["entry"]["kind"], samples=0, base=1.0, epochs=1e9):
            continue
        if "augment" not in recipe["datamodule"]:
            continue
        augment = nodes(settings, recipe, settings.given)["datamodule"]["augment"]
        assert augment["flip"] is (recipe["datamodule"]["augment"]["flip"] and dataset in MIRRORED)
        assert bool(augment["cutout"]) <= (dataset in PHOTOGRAPHS)


def test_a_data_set_of_the_user_gets_no_flips() -> None:
    settings = dataclasses.replace(DEFAULTS, dataset={"_target_": "my.Pictures"})
    assert not nodes(settings, RECIPES["fast"], ())["datamodule"]["augment"]["flip"]


def test_a_chosen_recipe_applies_below_the_user_s_settings() -> None:
    settings: Settings = compose(["recipe=fast", "learning_rate=0.01", "batch_size=64", "dataset=fashionmnist"])
    found = with_chosen(settings, settings.given)
    assert found.optimizer == {**settings.recipe["optimizer"], "lr": 0.01}
    assert found.scheduler == settings.recipe["scheduler"]
    assert found.datamodule["batch_size"] == 64
    assert found.datamodule["augment"] == {"flip": True, "shift": 0, "cutout": 0}
    plain = compose(["recipe=long", "datamodule.augment.flip=false", "dataset=fashionmnist"])
    assert with_chosen(plain, plain.given).datamodule["augment"] == {"flip": False, "shift": 1, "cutout": 0}
    other = compose(["recipe=fast", "optimizer=sgd"])
    assert with_chosen(other, other.given).optimizer == other.optimizer


class Ticking:
    """A clock on which every look takes a hundredth of a second, so that no training depends on the machine."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        self.time += 0.01
        return self.time


def train(plan: TrainingPlan) -> tuple[Any, list[Progress], Ticking]:
    told: list[Progress] = []
    clock = Ticking()
    return train_round(plan, Supervisor(told.append, monotonic=clock), now=0.0), told, clock


def test_a_round_uses_the_time_until_its_deadline(make_plan: MakePlan) -> None:
    plan = make_plan("out", "budget=compete", finish_by=8.0)
    update, told, clock = train(plan)
    assert update.accuracy_after > update.accuracy_before + 0.3
    assert not update.stopped_early
    assert clock.time <= 1008.1  # on this clock, scoring takes one look; what follows takes a few
    assert any("Recipe small" in one.note for one in told)
    steps = max(one.step for one in told if one.stage == "fit")
    assert steps > 41  # an epoch has 21
    choice = json.loads((plan.round.folder / BUDGET_FILE).read_bytes())
    assert (choice["recipe"], choice["epochs"] > 2) == ("small", True)


class SlowDigits(Digits):
    """Reading the held-out part takes 60 s on the clock of the training."""

    clock: ClassVar[Ticking]

    def load(self, split: SplitName) -> ImageSplit:
        if split == "held_out":
            SlowDigits.clock.time += 60
        return super().load(split)


def test_the_time_for_reading_the_held_out_part_is_counted_once(make_plan: MakePlan) -> None:
    plan = make_plan("out", "budget=compete", finish_by=100.0, allow_packages=("tests",))
    slow = {**plan.config.dataset, "_target_": f"{__name__}.SlowDigits"}
    plan = dataclasses.replace(plan, config=dataclasses.replace(plan.config, dataset=slow))
    SlowDigits.clock = clock = Ticking()
    train_round(plan, Supervisor(monotonic=clock), now=0.0)
    choice = json.loads((plan.round.folder / BUDGET_FILE).read_bytes())
    assert 30 < choice["seconds"] < 40


def test_a_chosen_recipe_has_a_budget_also_if_its_conditions_do_not_hold(make_plan: MakePlan) -> None:
    """Its values are in the configuration already, such as 60 epochs."""
    plan = make_plan("out", "budget=compete", "recipe=finetune", "budget_seconds=3", finish_by=1000.0)
    _, told, clock = train(plan)
    assert clock.time < 1010
    assert any("in 3 s" in one.note for one in told)


def test_a_validation_every_few_batches_suits_a_recipe_with_fewer_batches(make_plan: MakePlan) -> None:
    """An epoch has 41 configured batches, and 21 of the recipe."""
    course = ("budget=compete", "trainer.val_check_interval=30")
    _, told, _ = train(make_plan("out", *course, finish_by=8.0))
    assert any("Recipe small" in one.note for one in told)
    epochs = max(one.epoch for one in told if one.stage == "fit") + 1
    assert [one.stage for one in told].count("evaluate") >= epochs - 1 >= 2


@pytest.mark.parametrize("budget", ["compete", "documented"])  # without a deadline, as in an experiment
def test_a_validation_every_few_batches_suits_a_recipe_that_applies_to_every_training(
    budget: str, make_plan: MakePlan
) -> None:
    course = (f"budget={budget}", "recipe=long", "trainer.val_check_interval=30", "epochs=2")
    update, told, _ = train(make_plan("out", *course))
    assert update is not None
    assert max(one.step for one in told if one.stage == "fit") == 2 * 6  # 1,294 samples in batches of 256
    assert [one.stage for one in told].count("evaluate") >= 2


def test_without_a_recipe_such_a_validation_is_refused(make_plan: MakePlan) -> None:
    course = ("budget=documented", "trainer.val_check_interval=1000")
    with pytest.raises(TrainingError, match=r"val_check_interval.*must be less than or equal"):
        train(make_plan("out", *course))
    other = ("recipe=long", "batch_size=64", "trainer.val_check_interval=1000")  # the batch size is the user's
    with pytest.raises(TrainingError, match=r"val_check_interval.*must be less than or equal"):
        train(make_plan("other", *other))


class Plain(LightningModule):
    """A module of the user without the arguments that a recipe sets."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

    def validation_step(self, batch: Any, index: int) -> None:
        hits = self.network(batch[0]).argmax(1) == batch[1]
        self.log("val/accuracy", hits.float().mean(), batch_size=len(hits))


class Softened(Plain):
    """Accepts one of the arguments, and any other setting."""

    got: tuple[float, dict[str, object]] = (0.0, {})

    def __init__(self, network: nn.Module, label_smoothing: float = 0.0, **settings: object) -> None:
        super().__init__(network)
        Softened.got = label_smoothing, settings


class Saves(Plain):
    """Writes files next to the log."""

    folders: ClassVar[set[str | None]] = set()

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        Saves.folders.add(self.trainer.log_dir)
        if self.logger is not None:
            Path(cast(Any, self.logger).log_dir).mkdir(parents=True, exist_ok=True)
        return super().training_step(batch, index)


def test_a_module_may_write_next_to_the_log_in_every_fit(make_plan: MakePlan, tmp_path: Path) -> None:
    """A fit that is not logged, such as one that only measures the machine, has the round's folder instead."""
    logger = f"+logger={{_target_:lightning.pytorch.loggers.CSVLogger,save_dir:{tmp_path / 'log'}}}"
    course = ("budget=compete", f"module._target_={__name__}.Saves", logger, "trainer.log_every_n_steps=1")
    plan = make_plan("out", *course, finish_by=8.0, allow_packages=("tests",))
    _, told, _ = train(plan)
    assert any("Recipe small" in one.note for one in told)
    round_, *logged = sorted(map(str, Saves.folders), key=lambda folder: "log" in Path(folder).parts)
    assert round_ == str(plan.round.folder)
    assert [Path(folder).is_relative_to(tmp_path / "log") for folder in logged] == [True]


class PlainData(LightningDataModule):
    """A data module of the user without the arguments that a recipe sets."""


def own_plan(tmp_path: Path, text: str, *overrides: str, base: BaseModel) -> TrainingPlan:
    """Return a plan whose settings choose a file ``mine`` of the user in a group. The file has the given text."""
    group = overrides[0].partition("=")[0]
    file = tmp_path / "conf" / group / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    environ = {"DECLOUD_HOME": str(tmp_path), "DECLOUD_ALLOW_PACKAGES": "tests"}
    settings = load(["trainer=cpu", *overrides], environ=environ)
    folder = tmp_path / "out"
    folder.mkdir()
    plan = training_plan(
        settings, dataset=settings.dataset, base_model=base.weights, folder=folder, name="out", threads=1, finish_by=8.0
    )
    hand_over(base, plan.round.base_model_hash, folder / BASE_WEIGHTS_FILE)
    return plan


@pytest.mark.parametrize("recipe", ["auto", "fast"])
def test_a_recipe_leaves_out_what_the_class_in_a_file_of_the_user_does_not_accept(
    recipe: str, tmp_path: Path, tiny_model: BaseModel
) -> None:
    text = f"_target_: {__name__}.Softened\nwidth: 3\n"
    plan = own_plan(tmp_path, text, "module=mine", f"recipe={recipe}", base=tiny_model)
    check_plan(plan)
    update, told, _ = train(plan)
    assert update.accuracy_after > update.accuracy_before + 0.3
    assert any("Recipe " in one.note for one in told)
    assert Softened.got == (0.1, {"width": 3})


@pytest.mark.parametrize("recipe", ["auto", "fast"])
def test_what_a_file_of_the_user_sets_counts_more_than_a_recipe(
    recipe: str, tmp_path: Path, tiny_model: BaseModel
) -> None:
    text = f"_target_: {__name__}.Softened\nlabel_smoothing: 0.3\ndropout: 0.2\n"
    plan = own_plan(tmp_path, text, "module=mine", f"recipe={recipe}", base=tiny_model)
    check_plan(plan)
    _, told, _ = train(plan)
    assert any("Recipe " in one.note for one in told)
    assert Softened.got == (0.3, {"dropout": 0.2})  # the recipe has the same


def test_a_recipe_replaces_only_the_default_values_in_a_group(tmp_path: Path, tiny_model: BaseModel) -> None:
    """A packaged file has default values, also if the user names it or extends it."""
    text = "defaults:\n  - default\n  - _self_\nbatch_size: 32\naugment:\n  shift: 2\n"
    own = own_plan(tmp_path, text, "datamodule=mine", "recipe=long", "dataset=cifar10", base=tiny_model)
    assert own.config.datamodule["batch_size"] == 32
    assert own.config.datamodule["augment"] == {"flip": True, "shift": 2, "cutout": 8}
    named = compose(["module=classifier", "datamodule=default", "trainer=cpu", "recipe=small"])
    found = with_chosen(named, named.given)
    assert found == with_chosen(found, found.given)
    for group in ("module", "datamodule", "trainer"):
        wanted = {key: value for key, value in found.recipe[group].items() if key != "augment"}
        assert wanted.items() <= getattr(found, group).items()


@pytest.mark.parametrize(
    ("group", "text", "competes"),
    [
        ("datamodule", "batch_size: 64", False),
        ("trainer", "max_epochs: 3", False),
        ("trainer", "accelerator: cpu", True),
    ],
)
def test_what_a_file_of_the_user_fixes_is_kept(
    group: str, text: str, competes: bool, tmp_path: Path, tiny_model: BaseModel
) -> None:
    """As if it was set on the command line."""
    text = f"defaults:\n  - default\n  - _self_\n{text}\n"
    plan = own_plan(tmp_path, text, f"{group}=mine", base=tiny_model)
    assert plan.config.competes(plan.round.given) is competes


def test_the_start_accepts_what_a_recipe_adds_to_a_file_of_the_user(tmp_path: Path, tiny_model: BaseModel) -> None:
    for group, kind in (("module", "Plain"), ("datamodule", "PlainData")):
        home = tmp_path / group
        home.mkdir()
        check_plan(own_plan(home, f"_target_: {__name__}.{kind}\n", f"{group}=mine", "recipe=long", base=tiny_model))


@pytest.mark.parametrize("recipe", ["auto", "none"])
def test_what_a_file_of_the_user_sets_must_be_accepted(recipe: str, tmp_path: Path, tiny_model: BaseModel) -> None:
    text = f"_target_: {__name__}.Plain\ndropout: 0.1\n"
    plan = own_plan(tmp_path, text, "module=mine", f"recipe={recipe}", base=tiny_model)
    with pytest.raises(ConfigError, match=r"Plain does not accept an argument 'dropout'\. Unset module\.dropout"):
        check_plan(plan)


def test_the_start_checks_the_module_of_each_recipe(make_plan: MakePlan) -> None:
    other = f"+recipe.candidates.fast.module._target_={__name__}.PlainData"
    with pytest.raises(ConfigError, match="PlainData is not a LightningModule"):
        check_plan(make_plan("out", other, allow_packages=("tests",)))


def test_a_stored_choice_is_reused(make_plan: MakePlan) -> None:
    plan = make_plan("out", "budget=compete", finish_by=8.0)
    kept = {"fingerprint": plan.fingerprint(), "recipe": "small", "epochs": 2, "seconds": 7.0, "note": "As before."}
    (plan.round.folder / BUDGET_FILE).write_text(json.dumps(kept))
    _, told, _ = train(plan)
    assert "As before." in [one.note for one in told]
    assert max(one.step for one in told if one.stage == "fit") == 42


@pytest.mark.parametrize("fields", [{}, {"finish_by": 8.0, "given": ("trainer.max_epochs",)}])
def test_the_documented_values_apply_otherwise(fields: dict[str, Any], make_plan: MakePlan) -> None:
    plan = make_plan("out", "budget=compete", **fields)
    _, told, _ = train(plan)
    assert max(one.step for one in told if one.stage == "fit") == 41  # an epoch in batches of 32
    assert not (plan.round.folder / BUDGET_FILE).exists()


SGD = {"_target_": "torch.optim.SGD", "_partial_": True}
STILL, LEARNS = {"optimizer": {**SGD, "lr": 1e-9}}, {"optimizer": {**SGD, "lr": 0.3, "momentum": 0.9}}


def racing(make_plan: MakePlan, *, share: float, **fields: Any) -> TrainingPlan:
    """Return a plan with two recipes, of which the first one does not learn."""
    plan = make_plan("out", "budget=compete", **fields)
    recipe = {"candidates": {"still": STILL, "learns": LEARNS}, "race": share}
    return dataclasses.replace(plan, config=dataclasses.replace(plan.config, recipe=recipe))


def test_the_recipe_with_the_best_model_wins_a_race(make_plan: MakePlan) -> None:
    plan = racing(make_plan, share=0.4, finish_by=20.0)
    update, told, clock = train(plan)
    choice = json.loads((plan.round.folder / BUDGET_FILE).read_bytes())
    assert choice["recipe"] == "learns"
    assert re.search(r"Recipe learns, .* s each: still \d+\.\d %, learns \d+\.\d %\.$", choice["note"])
    assert choice["note"] in [one.note for one in told]
    assert clock.time <= 1020.1
    assert update.accuracy_after > update.accuracy_before + 0.3


@pytest.mark.parametrize(("share", "finish_by"), [(0.0, 20.0), (0.1, 8.0)])
def test_without_time_for_a_race_the_first_suitable_recipe_is_chosen(
    share: float, finish_by: float, make_plan: MakePlan
) -> None:
    plan = racing(make_plan, share=share, finish_by=finish_by)
    train(plan)
    choice = json.loads((plan.round.folder / BUDGET_FILE).read_bytes())
    assert choice["recipe"] == "still"
    assert "each" not in choice["note"]


class FailsAt(torch.optim.SGD):
    """Fails in its second step."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            group["steps"] = group.get("steps", 0) + 1
            if group["steps"] == 2:
                raise RuntimeError("no kernel for this network")
        return super().step(closure)


def test_a_recipe_that_fails_does_not_take_part(make_plan: MakePlan) -> None:
    plan = racing(make_plan, share=0.4, finish_by=20.0, allow_packages=("tests",))
    fails = {"optimizer": {"_target_": f"{FailsAt.__module__}.FailsAt", "_partial_": True, "lr": 0.1}}
    several = {"still": STILL, "fails": fails, "learns": LEARNS}
    config = dataclasses.replace(plan.config, recipe={**plan.config.recipe, "candidates": several})
    plan = dataclasses.replace(plan, config=config)
    train(plan)
    choice = json.loads((plan.round.folder / BUDGET_FILE).read_bytes())
    assert choice["recipe"] == "learns"
    assert "fails" not in choice["note"]


def test_the_winner_of_a_race_is_used_although_the_race_took_time(make_plan: MakePlan) -> None:
    plan = racing(make_plan, share=0.4, finish_by=20.0)
    needs = {**LEARNS, "when": {"epochs": 40}}
    recipe = {**plan.config.recipe, "candidates": {"still": STILL, "learns": needs}}
    train(dataclasses.replace(plan, config=dataclasses.replace(plan.config, recipe=recipe)))
    choice = json.loads((plan.round.folder / BUDGET_FILE).read_bytes())
    (fit,) = re.findall(r"for (\d+\.\d) epochs", choice["note"])
    assert choice["recipe"] == "learns"
    assert float(fit) < 40


@pytest.mark.parametrize(
    ("schedule", "epochs"), [("decloud_pl.train.fit.schedule.cosine", 15), ("torch.optim.lr_scheduler.StepLR", 11)]
)
def test_a_schedule_that_follows_the_steps_gets_fewer_spare_epochs(schedule: str, epochs: int) -> None:
    own = {"scheduler": {"_target_": schedule}, "trainer": None}
    assert choose({"own": own}, Pace(0.009, 1.0, 100), samples=1000, base=0.1).epochs == epochs


def test_a_race_stops_on_request(make_plan: MakePlan) -> None:
    plan = racing(make_plan, share=0.5, finish_by=16.0)
    told: list[Progress] = []

    def requested() -> bool:
        return any(one.stage == "probe" and one.step > 1 for one in told)

    with pytest.raises(TrainingStopped):
        train_round(plan, Supervisor(told.append, stop_requested=requested, monotonic=Ticking()), now=0.0)
    assert not (plan.round.folder / BUDGET_FILE).exists()


@pytest.mark.parametrize(
    ("recipe", "problem"),
    [
        ({"optimiser": {}}, "recipe.optimiser is not a part of a recipe. Use when, optimizer, "),
        ({"race": 0.1}, "recipe.race is not a part of a recipe."),
        ({"optimizer": "sgd"}, "recipe.optimizer must be a mapping (got 'sgd')."),
        ({"when": {"epoch": 3}}, "recipe.when.epoch is not a condition. Use kind, most_samples, base, epochs."),
        ({"when": {"kind": "images"}}, "recipe.when.kind must be image or text (got 'images')."),
        ({"when": {"epochs": "3"}}, "recipe.when.epochs must be a number (got '3')."),
        ({"candidates": {"a": 3}}, "recipe.candidates.a must be a recipe (got 3)."),
        ({"candidates": {"a": {"lr": 3}}}, "recipe.candidates.a.lr is not a part of a recipe."),
        ({"candidates": {}, "trainer": {}}, "recipe.trainer is not a part of a recipe with candidates."),
        ({"candidates": {}, "race": 0.6}, "recipe.race must be a number from 0 to 0.5 (got 0.6)."),
        ({"candidates": {}, "race": True}, "recipe.race must be a number from 0 to 0.5 (got True)."),
    ],
)
def test_a_wrong_recipe_is_refused(recipe: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        with_chosen(dataclasses.replace(DEFAULTS, recipe=recipe), ())
    assert str(refused.value).startswith(problem)


WATCHED = """
import runpy, sys
def watch(event, arguments):
    if event == "open":
        print("opened", arguments[0], file=sys.stderr)
sys.addaudithook(watch)
sys.argv = ["worker", sys.argv[1]]
runpy.run_module("decloud_pl.executors.worker", run_name="__main__")
"""


def test_a_round_never_opens_the_test_split(make_plan: MakePlan, tmp_path: Path) -> None:
    data = ("dataset=mnist", f"data.folder={tmp_path / 'data'}", "data.download=false")
    tiny.write("mnist", tmp_path / "data", train=300)
    plan = make_plan("out", "budget=compete", *data, finish_by=time.time() + 3600)
    short = dataclasses.replace(plan.config, budget_seconds=1.0)
    dataclasses.replace(plan, config=short).write(plan.round.folder)
    # The worker ends when its standard input closes.
    with subprocess.Popen(
        [sys.executable, "-c", WATCHED, str(plan.round.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        lines = process.stderr.read().splitlines()
    opened = [line for line in lines if line.startswith("opened ")]
    assert process.returncode == 0, [line for line in lines if line not in opened]
    assert any("train-images" in line for line in opened)
    assert not [line for line in opened if "t10k" in line]
