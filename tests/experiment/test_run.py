"""An experiment trains without a chain, and its score is what the local network's validator computes."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningDataModule
from matplotlib.figure import Figure
from safetensors.torch import load_file

from decloud_pl.__main__ import main
from decloud_pl.cli.results import lines, show
from decloud_pl.config import compose
from decloud_pl.data.catalog import entry
from decloud_pl.data.source import Source
from decloud_pl.errors import ConfigError, TrainingStopped
from decloud_pl.experiment.folders import at_work, settings_key, unfinished
from decloud_pl.experiment.plot import draw
from decloud_pl.experiment.results import Result, read, write_csv
from decloud_pl.experiment.run import FRESH_MODEL, dataset_node, make_base_model, parameters_of, run_experiment
from decloud_pl.localnet.agents import bench_child
from decloud_pl.models import package
from decloud_pl.models.inputs import ImageInput
from decloud_pl.models.quarantine.warm import WarmQuarantine
from decloud_pl.train.fit.batches import BatchStream
from decloud_pl.train.fit.datamodule import RoundDataModule
from tests.cli.terminal import Terminal
from tests.data.user_folders import write_table

QUICK = ("task=experiment", "trainer=cpu", "max_batches=12")
SMALL = ("model=mlp", "+model.hidden=32")


@pytest.fixture
def hydra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Hydra run in this process."""
    monkeypatch.setattr("sys.argv", ["decloud_pl"])


def test_the_score_is_the_validators(tmp_path: Path) -> None:
    result = run_experiment(compose([*QUICK, "model=simple_cnn"]), tmp_path / "0")
    base, update = tmp_path / "0" / "base_model.safetensors", tmp_path / "0" / "update.pt"
    assert result.accuracy_before == bench_child.baseline(str(base), "digits")
    assert result.gain is not None
    assert result.gain > 0.05
    assert result.update_bytes == update.stat().st_size
    assert result.accuracy_after == pytest.approx(_accuracy_on_chain(base, update, tmp_path))
    assert read(tmp_path / "0" / "result.json") == result
    steps = [json.loads(line) for line in (tmp_path / "0" / "progress.jsonl").read_text().splitlines()]
    assert [step["loss"] for step in steps if step["stage"] == "fit"]


def _accuracy_on_chain(base: Path, update: Path, folder: Path) -> float:
    """Score an update like the local network's validator, which opens it in quarantine."""
    with WarmQuarantine() as quarantine:
        model = quarantine.open_base_model(base, folder / "base")
        entries = load_file(str(quarantine.open_submission(update, model, folder / "entries")))
    package.save(
        folder / "after", model.spec, {name: tensor + entries[name] for name, tensor in load_file(str(base)).items()}
    )
    return bench_child.baseline(str(folder / "after"), "digits")


class Own(LightningDataModule):
    """A custom data module, whose validation data are the digits' test split."""

    def __init__(self, source: Source, spec: ImageInput) -> None:
        super().__init__()
        self._rows = RoundDataModule(source, spec)

    def train_dataloader(self) -> BatchStream:
        return self._rows.train_dataloader()

    def val_dataloader(self) -> BatchStream:
        return self._rows.test_dataloader()

    def on_after_batch_transfer(self, batch: Sequence[torch.Tensor], dataloader_idx: int) -> tuple[torch.Tensor, ...]:
        return self._rows.on_after_batch_transfer(batch, dataloader_idx)


def test_a_score_on_validation_data_is_not_labelled_as_one_of_the_test_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = compose([*QUICK, "model=mlp", f"datamodule._target_={Own.__module__}.Own"])
    own = run_experiment(dataclasses.replace(settings, allow_packages=["tests"]), tmp_path / "0")
    assert read(tmp_path / "0" / "result.json") == own
    assert own.accuracy_after is not None
    assert (own.accuracy_after * 179) % 1 == pytest.approx(0, abs=1e-6)  # every second of the 359 rows
    assert own.score_split == "held_out"
    test = dataclasses.replace(own, run="1", score_split="test")
    failed = Result("", "2", "digits", own.parameters, error="no")
    assert "measured on       half of the validation data" in lines(own)
    assert "measured on       the test split" in lines(test)
    assert not [line for line in lines(failed) if line.startswith("measured on")]
    for results, label in (
        ([test], "the test split"),
        ([own], "half of the validation data"),
        ([test, own], "the test split or half of the validation data"),
    ):
        axes = Figure().subplots()
        draw(axes, results)
        assert axes.get_ylabel() == f"accuracy on {label}, %"
    write_csv([own, test], tmp_path / "t.csv")
    rows = csv.DictReader((tmp_path / "t.csv").read_text().splitlines())
    assert [row["score_split"] for row in rows] == ["held_out", "test"]
    show([test, failed])
    assert "split" not in capsys.readouterr().out
    show([own, test, failed])
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in table[:4]] == ["split", "held_out", "test", "-"]


def test_the_same_seed_gives_the_same_score_and_another_another(tmp_path: Path) -> None:
    first, again, other = (
        run_experiment(compose([*QUICK, *SMALL, "max_batches=3", f"seed={seed}"]), tmp_path / str(number))
        for number, seed in enumerate((1, 1, 2))
    )
    assert (first.update_cid, first.accuracy_after) == (again.update_cid, again.accuracy_after)
    assert first.update_cid != other.update_cid


def test_it_goes_on_from_a_base_model(tmp_path: Path) -> None:
    first = run_experiment(compose([*QUICK, *SMALL, "max_batches=3"]), tmp_path / "0")
    base = tmp_path / "0" / "base_model.safetensors"
    second = run_experiment(compose([*QUICK, "max_batches=1", f"base_model={base}"]), tmp_path / "1")
    assert second.accuracy_before == first.accuracy_before
    assert not (tmp_path / "1" / "base_model.safetensors").exists()


def test_the_model_has_the_data_sets_classes(tmp_path: Path) -> None:
    from decloud_pl.experiment.run import make_base_model

    settings = compose([*QUICK, "model=simple_cnn"])
    node = {**entry("emnist").node, "root": None}
    spec = make_base_model(settings.model, node, tmp_path / "base", seed=0).spec
    assert spec.hyper_parameters["num_classes"] == 47


def test_the_data_sets_values_on_the_command_line(tmp_path: Path) -> None:
    changed = dataset_node(compose([*QUICK, "dataset=sst2", "dataset.text=review", "dataset.entry.num_classes=3"]))
    assert (changed["text"], changed["entry"]["num_classes"], changed["root"]) == ("review", 3, None)
    for part in ("train", "test"):
        write_table(tmp_path / "parts" / f"{part}.csv", ["a"], [0], ("review", "label"))
    for place in (tmp_path / "parts", tmp_path / "parts" / "train.csv"):
        words = [*QUICK, "dataset=imdb", f"paths.imdb={place}"]
        assert dataset_node(compose(words))["root"] == str(place)
        if place.is_dir():  # in the published layout
            assert dataset_node(compose([*words, "+dataset.text=review"]))["text"] == "review"
        else:
            said = r"dataset\.text does not apply to the files in paths\.imdb\. .* set paths\.imdb=PATH\?text=COLUMN"
            with pytest.raises(ConfigError, match=said):
                dataset_node(compose([*words, "+dataset.text=review"]))


@pytest.mark.usefixtures("hydra")
def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DECLOUD_HOME", str(tmp_path))
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "fonts"))
    assert main([*QUICK, *SMALL, "max_batches=2", "tune=probe"]) == 0
    out = capsys.readouterr().out
    (folder,) = (tmp_path / "experiments").iterdir()
    result = read(folder / "result.json")
    assert result.accuracy_after is not None
    assert f"accuracy after    {result.accuracy_after * 100:.2f} %" in out
    assert result.probe is not None
    assert result.probe["configured_rate"] == 0.001
    assert f"probe             {result.probe['note'].removeprefix('Probe: ')}" in out
    assert str(folder / "result.json") in out
    # Without a terminal there is no progress bar, so these lines are the whole output.
    assert [line.split()[0] for line in out.splitlines()] == [
        *("Training", "data", "model", "measured", "accuracy", "accuracy", "gain", "probe", "update", "time"),
        "Saved",
    ]
    assert not (folder / "training.ckpt").exists()


def test_one_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    settings = compose([*QUICK, "max_batches=4", *SMALL])
    whole = run_experiment(settings, tmp_path / "whole")
    key = settings_key(parameters_of(settings), {})
    folder = tmp_path / "all" / "1"
    folder.mkdir(parents=True)
    with at_work(folder, key):
        with pytest.raises(TrainingStopped):
            run_experiment(settings, folder, stop_requested=lambda: True)
        assert unfinished(folder.parent, key) is None  # a process is using it
    assert unfinished(folder.parent, key) == folder
    other = compose([*QUICK, "max_batches=4", *SMALL, "seed=1"])
    assert unfinished(folder.parent, settings_key(parameters_of(other), {})) is None
    assert run_experiment(settings, folder).update_cid == whole.update_cid
    assert unfinished(folder.parent, key) is None


def test_a_checkpoint_of_another_base_model_is_not_resumed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    words = [*QUICK, "max_batches=4"]
    with pytest.raises(TrainingStopped):
        run_experiment(compose([*words, *SMALL]), tmp_path, stop_requested=lambda: True)
    (tmp_path / FRESH_MODEL).replace(tmp_path / "given")
    same = compose([*words, f"base_model={tmp_path / 'given'}"])
    with pytest.raises(TrainingStopped):
        run_experiment(same, tmp_path, stop_requested=lambda: True)
    assert "belongs to another training" not in caplog.text
    make_base_model({"architecture": "mlp", "hidden": 32}, dataset_node(same), tmp_path / "given", seed=5)
    run_experiment(same, tmp_path)
    assert "belongs to another training" in caplog.text


def test_ctrl_c_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The training shows a progress bar. The same settings resume from the checkpoint."""
    words = ["task=experiment", "trainer=cpu", *SMALL, "epochs=20"]
    command = (sys.executable, "-m", "decloud_pl", *words)
    environ = {**os.environ, "DECLOUD_HOME": str(tmp_path), "NO_COLOR": "1"}
    with Terminal(command, environ) as terminal:
        terminal.wait_for("Training in")
        terminal.wait_for("training, epoch ")  # a fast training skips some of the numbers
        terminal.type("\x03")
        terminal.wait_for("Interrupted. Run the same command again to resume from the checkpoint in")
        assert terminal.end() == 130
    assert "Traceback" not in terminal.shown
    assert not re.search(r"\x1b\[[\d;]*m", terminal.shown)
    monkeypatch.setenv("DECLOUD_HOME", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["decloud_pl"])
    assert main(words) == 0
    out = capsys.readouterr().out
    assert out.startswith("Resuming in")
    assert "accuracy after" in out
    (folder,) = (tmp_path / "experiments").iterdir()
    assert (folder / "result.json").is_file()


def test_ctrl_c_before_a_checkpoint(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "decloud_pl", "task=experiment", "trainer=cpu")
    with Terminal(command, {**os.environ, "DECLOUD_HOME": str(tmp_path)}) as terminal:
        terminal.wait_for("preparing")
        terminal.type("\x03")
        terminal.wait_for("Interrupted before the first checkpoint. Run the same command again to start from scratch.")
        assert terminal.end() == 130
    assert "Traceback" not in terminal.shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([*QUICK, "+callbacks.mine=3"], "The configuration node 3 has no _target_."),
        ([*QUICK, "base_model=/nowhere.pt"], "The file /nowhere.pt does not exist. Correct base_model."),
        (["base_model=x.pt"], "base_model applies only to experiments"),
        ([*QUICK, "+modl=x"], "Did you mean 'model'?"),
        (["--cfg", "job", "+modl=x"], "Did you mean 'model'?"),
        ([*QUICK, "dataset=mnist", "data.download=false"], "The files of the data set mnist are not on this machine."),
        (
            [*QUICK, "dataset=imdb", "dataset.root=/nowhere"],
            "dataset.root does not apply. Set paths.imdb=/nowhere instead.",
        ),
        ([*QUICK, "model=text_bag"], "text"),
    ],
)
@pytest.mark.usefixtures("hydra")
def test_what_is_wrong_is_one_sentence(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    work = tmp_path / "working directory"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("DECLOUD_HOME", str(tmp_path))
    assert main(arguments) != 0
    assert words in capsys.readouterr().err
    assert list(work.iterdir()) == [], "Hydra writes its log into the working directory by default"


def test_a_damaged_result_is_named(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(ConfigError, match="is not an experiment's result"):
        read(tmp_path / "result.json")
