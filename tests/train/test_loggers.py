"""Each choice of conf/logger, offline. A real fit logs, and each logged value belongs to its step's batch."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor

from decloud_pl.build import build
from decloud_pl.config_dir import config_dir
from decloud_pl.errors import ConfigError
from decloud_pl.train.fit.setup import FitSetup

MakeSetup = Callable[..., FitSetup]
Points = dict[int, float]

CHOICES = sorted(path.stem for path in (config_dir() / "logger").glob("*.yaml"))
STEPS, EVERY, EPOCHS = 6, 2, 2
_BLOCK = 1 << 15


def test_the_choices() -> None:
    assert CHOICES == ["mlflow", "none", "tensorboard", "wandb"]


class Batches(Callback):
    """Records the network's loss and accuracy for each step's batch."""

    def __init__(self) -> None:
        self.loss: Points = {}
        self.accuracy: Points = {}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        step = trainer.global_step
        inputs, labels = batch
        with torch.no_grad():
            logits = pl_module(inputs)
        self.loss[step] = float(torch.nn.functional.cross_entropy(logits, labels))
        self.accuracy[step] = float((logits.argmax(1) == labels).float().mean())


def tensorboard(folder: Path) -> Callable[[str], Points]:
    from tensorboardX.proto.event_pb2 import Event  # type: ignore[import-untyped]

    (path,) = (folder / "tensorboard" / "round-7").glob("events.*")
    file, place, events = path.read_bytes(), 0, []
    while place < len(file):  # TFRecord: a length and its checksum, then the data and its checksum
        (length,) = struct.unpack_from("<Q", file, place)
        events.append(Event.FromString(file[place + 12 : place + 12 + length]))
        place += 12 + length + 4
    return lambda name: {
        event.step: value.simple_value for event in events for value in event.summary.value if value.tag == name
    }


def mlflow(folder: Path) -> Callable[[str], Points]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(str(folder / "mlflow"))
    experiment = client.get_experiment_by_name("decloud")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "round-7"
    return lambda name: {entry.step: entry.value for entry in client.get_metric_history(run.info.run_id, name)}


def wandb(folder: Path) -> Callable[[str], Points]:
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    (path,) = folder.rglob("*.wandb")
    rows, names = [], []
    for data in parts_of(path.read_bytes()):
        record = Record.FromString(data)
        if record.WhichOneof("record_type") == "run":
            names.append(record.run.display_name)
        elif record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    assert set(names) == {"round-7"}
    return lambda name: {row["trainer/global_step"]: row[name] for row in rows if name in row}


def parts_of(file: bytes) -> Iterator[bytes]:
    """Read the records of a wandb file: LevelDB's log format (https://github.com/google/leveldb, doc/log_format.md)."""
    place, begun = 7, b""  # after wandb's own header
    while place + 7 <= len(file):
        if _BLOCK - place % _BLOCK < 7:
            place += _BLOCK - place % _BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", file, place)
        begun += file[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield begun
            begun = b""


READERS = {"tensorboard": tensorboard, "mlflow": mlflow, "wandb": wandb}


@pytest.mark.filterwarnings("default")  # the loggers' own libraries warn about each other
@pytest.mark.parametrize("choice", CHOICES)
def test_a_fit_is_logged_step_by_step(
    choice: str, make_setup: MakeSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "")
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE")  # so that it is restored after the test
    course = (
        f"max_batches={STEPS}",
        f"epochs={EPOCHS}",
        f"trainer.log_every_n_steps={EVERY}",
        "trainer.precision=32-true",
    )
    setup = make_setup("7", f"logger={choice}", f"home={tmp_path}", "optimizer=sgd", *course)
    # Without dropout, the network gives the same result each time.
    batches = Batches()
    module: Any = setup.module()
    module.network.hidden[2].p = 0.0
    fit = setup.fit(module, [batches])
    accuracies: list[float] = []

    class Validations(Callback):
        def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            accuracies.append(float(trainer.callback_metrics["val/accuracy"]))

    fit.trainer.callbacks.append(Validations())  # type: ignore[attr-defined]  # set while it is made
    fit.run()
    if choice == "none":
        assert fit.trainer.loggers == []
        assert not (tmp_path / "loggers").exists()
        return
    for logger in fit.trainer.loggers:
        logger.finalize("success")
    if choice == "wandb":
        import wandb as library

        library.finish()
        library.teardown()  # wandb's own process may write the end of the file after finish() returned
    read = READERS[choice](tmp_path / "loggers")
    logged = range(EVERY - 1, STEPS * EPOCHS, EVERY)
    assert read("train/loss") == pytest.approx({step: batches.loss[step] for step in logged}, rel=1e-5)
    assert read("train/accuracy") == pytest.approx({step: batches.accuracy[step] for step in logged}, rel=1e-5)
    ends = [epoch * STEPS - 1 for epoch in range(1, EPOCHS + 1)]
    assert read("val/accuracy") == pytest.approx(dict(zip(ends, accuracies, strict=True)), rel=1e-6)


def test_a_fit_that_is_not_logged_accepts_code_that_uses_the_logger(make_setup: MakeSetup, tmp_path: Path) -> None:
    class Writes(Callback):
        def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *arguments: Any) -> None:
            cast(Any, pl_module.logger).experiment.log_metrics({"mine": 1.0}, trainer.global_step)

    logger = f"+logger={{_target_:lightning.pytorch.loggers.CSVLogger,save_dir:{tmp_path / 'log'}}}"
    setup = make_setup("7", logger, "max_batches=4", "trainer.log_every_n_steps=1")
    setup.fit(setup.module(), [Writes(), LearningRateMonitor()], logger=False).run()
    assert not (tmp_path / "log").exists()


NOT_INSTALLED = {
    "mlflow": ["pytorch.loggers.mlflow._MLFLOW_AVAILABLE"],
    "tensorboard": [
        "fabric.loggers.tensorboard._TENSORBOARD_AVAILABLE",
        "fabric.loggers.tensorboard._TENSORBOARDX_AVAILABLE",
    ],
    "wandb": ["pytorch.loggers.wandb._WANDB_AVAILABLE"],
}


@pytest.mark.parametrize("choice", NOT_INSTALLED)
def test_a_logger_whose_package_is_missing_names_the_extra(
    choice: str, make_setup: MakeSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for flag in NOT_INSTALLED[choice]:  # Lightning's flags for installed packages
        monkeypatch.setattr(f"lightning.{flag}", False)
    setup = make_setup("7", f"logger={choice}", f"home={tmp_path}")
    with pytest.raises(ConfigError, match=rf"cannot be built: .*decloud_pl\[{choice}\]"):
        build(setup.config.logger or {})


def test_a_logger_that_is_not_there_is_one_sentence(make_setup: MakeSetup) -> None:
    setup = make_setup("out", "logger=wandb")
    node = {**(setup.config.logger or {}), "_target_": "lightning.pytorch.loggers.Absent"}
    with pytest.raises(ConfigError, match="cannot be built"):
        build(node)
    assert "comet_ml" not in sys.modules
