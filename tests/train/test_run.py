"""A whole training, as a worker makes it: from a stranger's file to an update on disk."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from decloud_pl.build import build as build_node
from decloud_pl.errors import ConfigError, TrainingDiverged, TrainingError, TrainingStopped, UntrustedFileRejected
from decloud_pl.models.registry import build
from decloud_pl.settings import compose
from decloud_pl.store.unixfs import cid_of_file
from decloud_pl.train.fitting import check_strategy, trainer_node
from decloud_pl.train.options import split
from decloud_pl.train.plan import Progress, TrainingPlan
from decloud_pl.train.run import train_round


def plan(base_model: Path, out: Path, *overrides: str) -> TrainingPlan:
    settings = compose(["trainer=cpu", *overrides])
    out.mkdir()
    return TrainingPlan(
        base_model=base_model,
        out=out,
        dataset=settings.dataset,
        optimizer=settings.optimizer,
        trainer=settings.trainer,
        max_batches=settings.max_batches,
        batch_size=settings.batch_size,
    )


def test_a_plan_survives_its_file(base_model: Path, tmp_path: Path) -> None:
    made = plan(base_model, tmp_path / "out")
    assert TrainingPlan.from_json(made.to_json()) == made
    with pytest.raises(TrainingError):
        TrainingPlan.from_json('{"base_model": "x"}')


def test_training_gains_and_reports(base_model: Path, tmp_path: Path) -> None:
    heard: list[Progress] = []
    update = train_round(plan(base_model, tmp_path / "a"), heard.append)
    assert update is not None
    assert update.accuracy_after > update.accuracy_before + 0.3
    assert str(cid_of_file(update.path, update.profile)) == update.cid
    assert update.path.stat().st_size == update.size
    stages = [progress.stage for progress in heard]
    assert stages[:3] == ["prepare", "fit", "baseline"]
    assert stages[-1] == "score"
    fit = [progress for progress in heard if progress.stage == "fit"]
    assert fit[-1].step == fit[-1].total_steps > 0
    assert all(progress.loss is not None for progress in fit)


def test_an_update_that_validators_would_misread_is_withheld_with_the_cause(base_model: Path, tmp_path: Path) -> None:
    made = plan(base_model, tmp_path / "a")
    wrong = dataclasses.replace(made, read_as="gradient", remedies=("scale", "average", "lower_rate"))
    heard: list[Progress] = []
    update = train_round(wrong, heard.append)
    assert update is not None
    assert update.withheld.startswith("read as this network's validators do (gradient, rate 0.1), the update ")
    assert update.withheld.endswith("set update.convention=gradient")
    assert update.gain_low is not None
    assert update.gain_low < 0
    # Other weights would be misread as well: nothing was tried.
    assert "remedy" not in {progress.stage for progress in heard}
    assert heard[-1].note == f"Nothing will be submitted: {update.withheld}."
    # The training was over: with the right convention only the file is made again.
    heard.clear()
    right = train_round(dataclasses.replace(wrong, convention="gradient"), heard.append)
    assert right is not None
    assert right.withheld == ""
    assert right.accuracy_after > update.accuracy_after + 0.3
    assert not [progress for progress in heard if progress.stage == "fit" and progress.step]


def test_a_rate_that_is_too_high_is_mended_by_another_training(base_model: Path, tmp_path: Path) -> None:
    """Also where that is stopped in its middle: it goes on from there."""
    made = plan(base_model, tmp_path / "a", "learning_rate=0.05", "max_batches=40")
    mended = dataclasses.replace(made, remedies=("average", "lower_rate"))
    heard: list[Progress] = []
    with pytest.raises(TrainingStopped):
        train_round(
            mended, heard.append, stop_requested=lambda: any(one.stage == "remedy" and one.step >= 20 for one in heard)
        )
    heard.clear()
    update = train_round(mended, heard.append)
    assert update is not None
    assert update.withheld == ""
    assert update.gain_low is not None
    assert 0 < update.gain_low < update.accuracy_after - update.accuracy_before
    notes = [progress.note for progress in heard if progress.stage == "remedy" and progress.note]
    assert notes[0].startswith("Remedy average: ")
    assert "trained again at the rate 0.005." in notes[-1]
    steps = {stage: [one.step for one in heard if one.stage == stage and one.step] for stage in ("fit", "remedy")}
    assert steps["fit"] == []
    assert (steps["remedy"][0], steps["remedy"][-1]) == (21, 40)
    assert str(cid_of_file(update.path, update.profile)) == update.cid
    assert sorted(path.name for path in made.out.glob("*.pt")) == ["update.pt"]


def test_a_training_that_diverges_is_made_again_at_a_lower_rate(base_model: Path, tmp_path: Path) -> None:
    settings = compose(["trainer=cpu", "optimizer=sgd", "learning_rate=0.5"])
    made = dataclasses.replace(
        plan(base_model, tmp_path / "a", "max_batches=40"), optimizer=settings.optimizer, learning_rate=0.5
    )
    heard: list[Progress] = []
    update = train_round(dataclasses.replace(made, remedies=("scale", "lower_rate")), heard.append)
    assert update is not None
    assert update.withheld == ""
    notes = [progress.note for progress in heard if progress.stage == "remedy" and progress.note]
    assert notes[0] == "The training diverged: conv1.bias holds values that are not finite."
    assert notes[-1] == "Remedy lower_rate: trained again at the rate 0.05."
    with pytest.raises(TrainingDiverged):
        train_round(made, heard.append)


def test_in_an_experiment_the_score_is_of_the_test_split(base_model: Path, tmp_path: Path) -> None:
    made = dataclasses.replace(plan(base_model, tmp_path / "a", "max_batches=20"), score_split="test")
    update = train_round(made, lambda _: None)
    assert update is not None
    assert update.gain_low is not None
    assert update.gain_high is not None
    # Of 359 samples; the estimate is by 72 others.
    assert (update.accuracy_after * 359) % 1 == pytest.approx(0, abs=1e-6)
    assert update.gain_low <= update.accuracy_after - update.accuracy_before <= update.gain_high


def test_a_base_model_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "base.pt"
    path.write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(UntrustedFileRejected):
        train_round(plan(path, tmp_path / "out"), lambda _: None)


def test_too_few_classes_for_the_data(tmp_path: Path) -> None:
    path = tmp_path / "base.pt"
    torch.save(build("simple_cnn", {"num_classes": 3}).state_dict(), path)
    with pytest.raises(TrainingError, match="3 classes apart, the data set digits has 10"):
        train_round(plan(path, tmp_path / "out"), lambda _: None)


def test_only_what_is_allowed_is_built(base_model: Path, tmp_path: Path) -> None:
    evil = dataclasses.replace(plan(base_model, tmp_path / "out"), dataset={"_target_": "os.system", "command": "true"})
    with pytest.raises(ConfigError, match=r"'os\.system' may not be built"):
        train_round(evil, lambda _: None)


def test_there_is_no_time_left(base_model: Path, tmp_path: Path) -> None:
    late = dataclasses.replace(plan(base_model, tmp_path / "out"), finish_by=1_000.0)
    with pytest.raises(TrainingError, match="no time left to train before the round's deadline"):
        train_round(late, lambda _: None, monotonic=lambda: 5.0, now=lambda: 1_001.0)
    assert not (tmp_path / "out" / "update.pt").exists()


@pytest.mark.parametrize("start", ["ddp_spawn", "ddp_fork"])
def test_processes_that_could_not_hand_the_update_back_are_refused(
    start: str, base_model: Path, tmp_path: Path
) -> None:
    made = plan(base_model, tmp_path / "out", f"+trainer.strategy={start}", "trainer.devices=2")
    trainer = build_node(trainer_node(made, split(made.trainer)[1]))
    with pytest.raises(TrainingError, match=r"cannot hand the update back.*trainer\.strategy=ddp"):
        check_strategy(trainer)
