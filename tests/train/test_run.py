"""A whole training, as in a worker: from a stranger's file to an update on disk."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from decloud_pl.domain import Payout, Update
from decloud_pl.errors import (
    ConfigError,
    MachineShortage,
    TrainingDiverged,
    TrainingError,
    TrainingStopped,
    UntrustedFileRejected,
)
from decloud_pl.models.base_model import BaseModel
from decloud_pl.models.inputs import ImageInput
from decloud_pl.models.package import save
from decloud_pl.models.quarantine.opened import OPENED_FILE, hand_over, recorded
from decloud_pl.models.spec import ModelSpec
from decloud_pl.store.ipfs.unixfs import cid_of_file
from decloud_pl.train.plan import (
    BASE_WEIGHTS_FILE,
    CHECKPOINT_FILE,
    CONFIG_FILE,
    LOWER_RATE_UPDATE_FILE,
    ROUND_FILE,
    UPDATE_FILE,
    TrainingPlan,
)
from decloud_pl.train.progress import Progress, Supervisor
from decloud_pl.train.run import train_round


class FullDisk(Callback):
    """Fails like a write to a full disk."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/full/place")


MakePlan = Callable[..., TrainingPlan]

TOO_FAST = ("learning_rate=1.0", "max_batches=40")
AGAIN = "Trained again from the base model at learning rate 0.1."


def changed(plan: TrainingPlan, **fields: Any) -> TrainingPlan:
    """Return the plan with other values for its round."""
    return dataclasses.replace(plan, round=dataclasses.replace(plan.round, **fields))


def test_a_plan_survives_its_files(make_plan: MakePlan) -> None:
    made = make_plan("out", finish_by=12.5, given=("optimizer",), allow_packages=("mine",), payout=Payout(9, 2, 5000))
    folder = made.round.folder

    def absent() -> None:
        (folder / ROUND_FILE).unlink()

    def no_yaml() -> None:
        (folder / CONFIG_FILE).write_text("a: [")

    def of_another_version() -> None:
        (folder / ROUND_FILE).write_text('{"base_model": "x"}')

    for damage in (absent, no_yaml, of_another_version):
        made.write(folder)
        assert TrainingPlan.read(folder) == made
        damage()
        with pytest.raises(TrainingError, match=r"cannot be read.*Start the round again to create a new plan"):
            TrainingPlan.read(folder)


def test_what_changes_the_result_changes_the_plans_keys(make_plan: MakePlan) -> None:
    made = make_plan("a")
    made.write(made.round.folder)
    for override, same_course, same_update in (
        ("fit.checkpoint_seconds=1", True, True),
        ("logger=tensorboard", True, True),
        ("update.dtype=float32", True, False),
        ("update.min_gain=0.5", True, False),
        ("optimizer.lr=0.5", False, False),
        ("trainer.gradient_clip_val=1", False, False),
        ("seed=1", False, False),
        ("batch_size=8", False, False),
        ("callbacks=ema", False, False),
        ("scheduler=cosine", False, False),
        ("tune=probe", False, False),
    ):
        other = make_plan(override, override)
        assert (made.fingerprint() == other.fingerprint()) is same_course, override
        assert other.differs_from(made.round.folder) is not same_update, override
        assert not made.differs_from(other.round.folder)  # the folder has no plan


def test_training_gains_and_reports(make_plan: MakePlan, base_model: Path) -> None:
    heard: list[Progress] = []
    update = train_round(make_plan("a", base_model=base_model), Supervisor(heard.append))
    assert update is not None
    assert update.gain is not None
    assert update.gain > 0.3
    assert str(cid_of_file(update.path, update.profile)) == update.cid
    assert update.path.stat().st_size == update.size
    stages = [progress.stage for progress in heard]
    assert stages[:3] == ["prepare", "fit", "baseline"]
    assert stages[-1] == "score"
    fit = [progress for progress in heard if progress.stage == "fit"]
    assert fit[-1].step == fit[-1].total_steps > 0
    assert all(progress.loss is not None for progress in fit)


def test_training_writes_beside_its_place_alone(
    make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "no such folder"))
    update = train_round(make_plan("a", "fit.data_memory_mb=0", "trainer.max_epochs=1"), Supervisor())
    assert update is not None
    assert (update.path.parent / CHECKPOINT_FILE).exists()
    assert not list(update.path.parent.glob("*.part"))


def test_a_full_disk_is_named_and_costs_no_attempt(make_plan: MakePlan) -> None:
    own = f"+callbacks.full._target_={FullDisk.__module__}.FullDisk"
    plan = make_plan("a", own, allow_packages=(FullDisk.__module__.partition(".")[0],))
    with pytest.raises(MachineShortage, match="No disk space left in /full/place"):
        train_round(plan, Supervisor())


def test_an_update_that_validators_would_misread_is_withheld_with_the_cause(make_plan: MakePlan) -> None:
    wrong = make_plan("a", read_as="gradient")
    heard: list[Progress] = []
    update = train_round(wrong, Supervisor(heard.append))
    assert update is not None
    assert update.withheld.startswith("as this network's validators read it (gradient, rate 0.1), the update ")
    assert update.withheld.endswith("set update.convention=gradient")
    assert update.gain_low is not None
    assert update.gain_low < 0
    assert heard[-1].note == f"Nothing will be submitted: {update.withheld}."
    # The training was complete. With the right convention, only the file is written again.
    heard.clear()
    right = train_round(changed(wrong, convention="gradient"), Supervisor(heard.append))
    assert right is not None
    assert right.withheld == ""
    assert right.gain is not None
    assert update.gain is not None
    assert right.gain > update.gain + 0.3
    assert not [progress for progress in heard if progress.stage == "fit" and progress.step]


def test_the_reward_of_the_round_decides_whether_an_update_is_submitted(make_plan: MakePlan) -> None:
    plan = make_plan("a", "learning_rate=0.01", "update.candidates=[]", payout=Payout(4_000, 1, 5_000))
    update = train_round(plan, Supervisor())
    assert update is not None
    assert update.withheld == "the update is expected to earn 0.000004 SOL, less than the fee of 0.000005 SOL"
    heard: list[Progress] = []
    update = train_round(changed(plan, payout=Payout(10_000, 2, 5_000)), Supervisor(heard.append))
    assert update is not None
    assert update.withheld == ""
    assert heard[-1].note.endswith("It is expected to earn 0.000005 SOL.")


def test_a_rate_that_is_too_high_is_mended_by_another_training(make_plan: MakePlan) -> None:
    """A training that stops in the middle of the other training resumes there. Until then, the first update counts."""
    made = make_plan("a", *TOO_FAST, "update.candidates=[ema,lower_rate]")
    recorded: list[Update] = []
    heard: list[Progress] = []
    with pytest.raises(TrainingStopped):
        train_round(
            made,
            Supervisor(heard.append, lambda: any(one.stage == "choose" and one.step >= 20 for one in heard)),
            judged=recorded.append,
        )
    (first,) = recorded
    assert first.gain_low is not None
    assert str(cid_of_file(first.path, first.profile)) == first.cid
    heard.clear()
    update = train_round(made, Supervisor(heard.append), judged=recorded.append)
    assert update is not None
    assert update.withheld == ""
    assert update.gain_low is not None
    assert update.gain is not None
    assert 0 < update.gain_low < update.gain
    notes = [progress.note for progress in heard if progress.stage == "choose" and progress.note]
    assert notes[0].startswith("Of 2 candidates, ")
    assert notes[-1] == AGAIN
    steps = {stage: [one.step for one in heard if one.stage == stage and one.step] for stage in ("fit", "choose")}
    assert steps["fit"] == []
    assert (steps["choose"][0], steps["choose"][-1]) == (21, 40)
    assert str(cid_of_file(update.path, update.profile)) == update.cid
    assert update.path.name == LOWER_RATE_UPDATE_FILE != first.path.name
    assert str(cid_of_file(first.path, first.profile)) == first.cid


def test_another_training_keeps_to_the_planned_time(make_plan: MakePlan) -> None:
    """The first training has used it up. Further energy could cost more than the round pays."""
    clock = itertools.count(0.0, 0.01)
    rate = ("recipe=small", "recipe.optimizer.lr=1e-9", "update.candidates=[lower_rate]")
    made = make_plan("a", "budget=compete", "budget_seconds=2", *rate, finish_by=1000.0)
    heard: list[Progress] = []
    update = train_round(made, Supervisor(heard.append, monotonic=clock.__next__), now=0.0)
    assert update is not None
    notes = [progress.note for progress in heard if progress.stage == "choose" and progress.note]
    assert notes == ["No time is left to train again at a lower learning rate."]
    assert next(clock) < 10


def test_another_training_accepts_callbacks_that_need_a_logger(make_plan: MakePlan, tmp_path: Path) -> None:
    """Only the first training is logged."""
    logger = f"+logger={{_target_:lightning.pytorch.loggers.CSVLogger,save_dir:{tmp_path / 'log'}}}"
    course = (*TOO_FAST, "trainer.log_every_n_steps=10", "update.candidates=[lower_rate]")
    heard: list[Progress] = []
    update = train_round(make_plan("a", *course, "callbacks=lr_monitor", logger), Supervisor(heard.append))
    assert update is not None
    assert update.withheld == ""
    notes = [progress.note for progress in heard if progress.stage == "choose" and progress.note]
    assert notes[-1] == AGAIN
    assert len(list((tmp_path / "log").rglob("metrics.csv"))) == 1


class FailsAgain(Callback):
    """Fails in every training but the first."""

    trainings = 0

    def on_train_start(self, *arguments: object) -> None:
        FailsAgain.trainings += 1
        if FailsAgain.trainings > 1:
            raise RuntimeError("no second time")


def test_another_training_that_fails_costs_nothing(make_plan: MakePlan) -> None:
    course = (*TOO_FAST, "update.candidates=[lower_rate]")
    fails = f"+callbacks.mine._target_={FailsAgain.__module__}.FailsAgain"
    heard: list[Progress] = []
    made = make_plan("a", *course, fails, allow_packages=("tests",))
    update = train_round(made, Supervisor(heard.append))
    assert FailsAgain.trainings == 2
    assert update is not None
    assert str(cid_of_file(update.path, update.profile)) == update.cid
    notes = [progress.note for progress in heard if progress.stage == "choose" and progress.note]
    assert notes[-1] == (
        "The training at a lower learning rate failed: The training failed: RuntimeError: no second time. "
        "The update of the first training is kept."
    )
    assert update.gain_low is not None


class Explodes(Callback):
    """Makes a training at a learning rate of 1 diverge."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *arguments: object) -> None:
        if trainer.optimizers[0].param_groups[0]["lr"] == 1.0:
            with torch.no_grad():
                next(pl_module.parameters()).fill_(float("inf"))


def test_a_training_that_diverges_is_made_again_at_a_lower_rate(make_plan: MakePlan) -> None:
    course = (*TOO_FAST, f"+callbacks.mine._target_={Explodes.__module__}.Explodes")
    heard: list[Progress] = []
    made = make_plan("a", *course, "update.candidates=[scale,lower_rate]", allow_packages=("tests",))
    update = train_round(made, Supervisor(heard.append))
    assert update is not None
    assert update.withheld == ""
    notes = [progress.note for progress in heard if progress.stage == "choose" and progress.note]
    assert notes[0] == "The training diverged: head.bias has values that are not finite."
    assert notes[-1] == AGAIN
    with pytest.raises(TrainingDiverged):
        train_round(make_plan("b", *course, "update.candidates=[]", allow_packages=("tests",)), Supervisor())


def test_in_an_experiment_the_score_is_of_the_test_split(make_plan: MakePlan) -> None:
    update = train_round(make_plan("a", "max_batches=20", score_split="test"), Supervisor())
    assert update is not None
    assert update.gain_low is not None
    assert update.gain_high is not None
    # On 359 samples. The estimate uses 72 others.
    assert update.accuracy_after is not None
    assert (update.accuracy_after * 359) % 1 == pytest.approx(0, abs=1e-6)
    assert update.gain is not None
    assert update.gain_low <= update.gain <= update.gain_high


def test_too_few_classes_for_the_data(make_plan: MakePlan, tmp_path: Path) -> None:
    spec, path = ModelSpec("mlp", {"num_classes": 3, "image_size": 8}, ImageInput(size=8)), tmp_path / "base"
    save(path, spec, spec.network())
    plan = make_plan("out", base_model=path)
    hand_over(BaseModel(spec, path, 3), plan.round.base_model_hash, plan.round.folder / BASE_WEIGHTS_FILE)
    with pytest.raises(TrainingError, match="3 classes, but the data set digits has 10"):
        train_round(plan, Supervisor())


def test_only_what_is_allowed_is_built(make_plan: MakePlan) -> None:
    made = make_plan("out")
    config = dataclasses.replace(made.config, dataset={"_target_": "os.system", "command": "true"})
    with pytest.raises(ConfigError, match=r"'os\.system' may not be built"):
        train_round(dataclasses.replace(made, config=config), Supervisor())


NO_TIME = "No time is left to train before the round's deadline"


def test_there_is_no_time_left(make_plan: MakePlan, tmp_path: Path) -> None:
    late = make_plan("out", base_model=tmp_path / "not even opened", finish_by=1_000.0)
    with pytest.raises(TrainingError, match=NO_TIME):
        train_round(late, Supervisor(monotonic=lambda: 5.0), now=1_001.0)


def test_the_time_runs_out_while_the_model_is_opened(make_plan: MakePlan) -> None:
    late = make_plan("out", finish_by=1_000.0)
    times = itertools.chain([5.0, 5.0], itertools.repeat(500.0))
    with pytest.raises(TrainingError, match=NO_TIME):
        train_round(late, Supervisor(monotonic=lambda: next(times)), now=990.0)
    assert not (late.round.folder / UPDATE_FILE).exists()


@pytest.mark.parametrize("start", ["ddp_spawn", "ddp_fork"])
def test_processes_that_could_not_hand_the_update_back_are_refused(start: str, make_plan: MakePlan) -> None:
    with pytest.raises(TrainingError, match=r"cannot return the update.*trainer\.strategy=ddp"):
        train_round(make_plan("out", f"trainer.strategy={start}", "trainer.devices=2"), Supervisor())


def test_a_model_that_was_opened_before_is_not_opened_again(make_plan: MakePlan) -> None:
    plan = make_plan("first", "max_batches=2")
    (plan.round.folder / OPENED_FILE).unlink()
    assert train_round(plan, Supervisor()) is not None
    opened = recorded(plan.round.folder, plan.round.base_model_hash)
    assert opened is not None
    # The quarantine refuses this file.
    refused = plan.round.folder.with_name("refused")
    refused.write_bytes(b"PK\x03\x04 not really")
    again = changed(make_plan("second", "max_batches=2"), base_model=refused)
    with pytest.raises(UntrustedFileRejected):
        train_round(again, Supervisor())
    hand_over(opened, again.round.base_model_hash, again.round.folder / BASE_WEIGHTS_FILE)
    update = train_round(again, Supervisor())
    assert update is not None
    assert update.accuracy_before is not None
