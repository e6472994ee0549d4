"""Each choice of conf/logger is composed, planned, built and fed with a training's metrics, offline."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from decloud_pl.build import build
from decloud_pl.config_dir import config_dir
from decloud_pl.daemon.planner import SettingsPlanner
from decloud_pl.daemon.record import RoundRecord, State
from decloud_pl.settings import compose
from decloud_pl.train.fitting import trainer_node
from decloud_pl.train.options import split
from decloud_pl.train.plan import Progress, TrainingPlan
from decloud_pl.train.track import Tracker, allow_files

CHOICES = sorted(path.stem for path in (config_dir() / "logger").glob("*.yaml"))


def plan_with(choice: str, tmp_path: Path) -> TrainingPlan:
    settings = compose([f"logger={choice}", f"home={tmp_path}", "trainer=cpu"])
    record = RoundRecord(7, State.TRAINING, "custom", "digits", "bafy", 1)
    text = SettingsPlanner(settings).plan(record, base_model=tmp_path / "base", folder=tmp_path / "out")
    return TrainingPlan.from_json(text)


def written(folder: Path) -> str:
    """Everything that is in the files below a folder."""
    return "".join(
        path.read_bytes().decode("latin-1") + str(path) for path in sorted(folder.rglob("*")) if path.is_file()
    )


def test_the_choices() -> None:
    assert CHOICES == ["mlflow", "none", "tensorboard", "wandb"]


@pytest.mark.filterwarnings("default")  # the loggers' own libraries complain of each other
@pytest.mark.parametrize("choice", CHOICES)
def test_a_logger_gets_loss_and_accuracy(choice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    plan = plan_with(choice, tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "")
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE")  # and afterwards it is as it was
    allow_files(plan.logger)
    trainer: Any = build(trainer_node(plan, split(plan.trainer)[1]))
    heard: list[Progress] = []
    tracker = Tracker(heard.append)
    tracker.loggers = trainer.loggers
    tracker(Progress("fit", 0, 5, 10, loss=0.123))
    tracker(Progress("evaluate", accuracy=0.75))
    tracker(Progress("score", accuracy=0.8))
    for logger in trainer.loggers:
        logger.finalize("success")
    assert len(heard) == 3
    assert len(trainer.loggers) == (choice != "none")
    if choice == "wandb":
        import wandb

        wandb.finish()
    text = written(tmp_path / "loggers")
    assert ("loss" in text and "accuracy" in text) is (choice != "none")
    assert ("round-7" in text) is (choice != "none")


def test_a_logger_that_is_not_installed_is_one_sentence(tmp_path: Path) -> None:
    from decloud_pl.errors import ConfigError

    plan = plan_with("wandb", tmp_path)
    node = {**plan.logger, "_target_": "lightning.pytorch.loggers.Absent"}
    with pytest.raises(ConfigError, match="cannot be built"):
        build(node)
    assert "comet_ml" not in sys.modules
