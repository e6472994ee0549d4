"""Sweeps with every launcher and sweeper: all runs are in one table, and no file contains a secret."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

import pytest
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from decloud_pl.__main__ import main
from decloud_pl.cli import main as trainer
from decloud_pl.cli.hydra_run import shown_overrides
from decloud_pl.config.layers import sources
from decloud_pl.config.load import composed
from decloud_pl.config_dir import config_dir
from decloud_pl.errors import ConfigError
from decloud_pl.experiment.results import differing, read_sweeps
from decloud_pl.experiment.sweep import checked_points, expanded, job, without_shown
from tests.data import tiny

KEY = "4NwKEYthatNoFileMayHold7pXqVbRzmT2sW9dLcJfGhUeYoAa1KQ3Zt5Ny8Mv6Bx"
JWT = "eyJhbGciOiJIUzI1NiJ9.payloadThatNoFileMayHold.signature"
RPC = "https://rpc.example.org/?api-key=noFileMayHoldThisEither"
MIRROR = "https://mirror.example.org/aMirrorsKeyThatNoFileMayHold/data"
SWEEPS = sorted(config_dir().glob("sweep/*.yaml"))
# SQLAlchemy and Optuna warn about themselves when they are imported.
MARKS = {"ray": pytest.mark.ray, "optuna": pytest.mark.filterwarnings("ignore")}
VARIED = {"basic": {"optimizer.lr", "trainer.max_epochs"}, "optuna": {"optimizer.lr", "optimizer._target_"}}


def user(home: Path, **environ: str) -> dict[str, str]:
    """Write the settings of a user with secrets and short trainings. Return the user's environment."""
    # In the searched folder, so that the search includes files that a launcher leaves in the working directory.
    (home / "work").mkdir(parents=True, exist_ok=True)
    config = home / "config.json"
    config.write_text(
        json.dumps({"pinata_jwt": JWT, "network.rpc_url": RPC, "data.mirror": MIRROR, "trainer": "cpu", "model": "mlp"})
    )
    config.chmod(0o600)
    return {"DECLOUD_HOME": str(home), "DECLOUD_PRIVATE_KEY": KEY, "DECLOUD_MAX_BATCHES": "2", **environ}


@pytest.fixture
def sweep(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """A function that works like ``python -m decloud_pl -m`` for a `user`, but in this process."""

    def run(home: Path, *words: str, **environ: str) -> int:
        for name, value in user(home, **environ).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["decloud_pl"])
        monkeypatch.chdir(home / "work")
        return main(["-m", *words])

    return run


def holding(folder: Path, secrets: list[str]) -> list[str]:
    """Return the files that contain a secret, in plain text or UTF-16."""
    needles = [text.encode(encoding) for text in secrets for encoding in ("utf-8", "utf-16-le")]
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "config.json"]
    return [str(path) for path in files if any(needle in path.read_bytes() for needle in needles)]


# Python runs this at the start of every process.
NOTE_ENVIRONMENT = """
import os, pathlib
note = pathlib.Path(__file__).with_name(f"{os.getpid()}.environ")
note.write_text("\\n".join(f"{name}={value}" for name, value in os.environ.items()))
"""
IN_THE_ENVIRONMENT = {
    "PINATA_JWT": JWT,
    "DECLOUD_NETWORK_RPC_URL": RPC,
    "DECLOUD_NETWORK_WS_URL": RPC.replace("https", "wss"),
    "DECLOUD_NETWORK_FALLBACK_RPC_URLS": f"https://a.example.org,{RPC}",
    "DECLOUD_DATA_MIRROR": MIRROR,
}
STARTED = {"joblib": 2, "submitit": 2, "ray": 2}
"""The least number of processes that a launcher starts for two runs. The others train in the user's own process."""


@pytest.mark.parametrize(
    "file",
    [pytest.param(path, id=path.stem, marks=MARKS.get(path.stem, ())) for path in SWEEPS],
)
def test_a_sweep_as_its_file_says(
    file: Path,
    sweep: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    launcher = file.stem
    (words,) = re.findall(r"python -m decloud_pl -m (sweep=\w+)$", file.read_text(), re.MULTILINE)
    if launcher == "ray" and find_spec("hydra_plugins.hydra_ray_launcher") is None:
        pytest.skip("hydra-ray-launcher is not installed; the continuous integration installs it besides the pins")
    customised, home = tmp_path / "customised", tmp_path / "home"
    customised.mkdir()
    (customised / "sitecustomize.py").write_text(NOTE_ENVIRONMENT)
    path = os.pathsep.join(filter(None, (str(customised), os.environ.get("PYTHONPATH"))))
    given = {"PYTHONPATH": path, **IN_THE_ENVIRONMENT}
    if launcher in STARTED:
        command = [sys.executable, "-m", "decloud_pl", "-m", words]
        environ = {**os.environ, **user(home, **given)}
        done = subprocess.run(command, cwd=home / "work", env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "after %" in done.stdout
    else:
        assert sweep(home, words, **given) == 0
        assert "after %" in capsys.readouterr().out
    monkeypatch.setenv("DECLOUD_HOME", str(home))
    assert trainer(["sweeps", "--json", "--csv", str(home / "t.csv"), "--plot", str(home / "p.png")]) == 0
    document = json.loads(capsys.readouterr().out)
    expected = 4 if launcher in VARIED else 2
    assert [run["run"] for run in document["runs"]] == [str(number) for number in range(expected)]
    assert all(run["accuracy_after"] is not None for run in document["runs"])
    assert set(document["differing"]) == VARIED.get(launcher, {"optimizer.lr"})
    rows = list(csv.DictReader((home / "t.csv").read_text().splitlines()))
    assert [float(row["optimizer.lr"]) for row in rows] == [
        run["parameters"]["optimizer.lr"] for run in document["runs"]
    ]
    assert (home / "p.png").read_bytes().startswith(b"\x89PNG")
    secrets = [KEY, JWT, RPC, KEY[8:40], RPC[30:], MIRROR[27:]]
    assert holding(home, secrets) == []
    assert list((home / "work").iterdir()) == []
    environments = {path: path.read_text() for path in customised.glob("*.environ")}
    if launcher in STARTED:
        (own,) = (path for path, text in environments.items() if KEY in text)  # the user's own process
        environments.pop(own)
        assert len(environments) >= STARTED[launcher]
    assert not [path for path, text in environments.items() if any(secret in text for secret in secrets)]
    assert all("DECLOUD_MAX_BATCHES=2" in text for text in environments.values())


def test_a_secret_in_a_file_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.log").write_text(f"key={KEY}")
    assert holding(tmp_path, [KEY]) == [str(tmp_path / "a" / "b.log")]


def test_no_secret_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"pinata_jwt": JWT}))
    (tmp_path / "config.json").chmod(0o600)
    environ = {"DECLOUD_HOME": str(tmp_path), "DECLOUD_PRIVATE_KEY": KEY, "PINATA_API_KEY": KEY}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["decloud_pl"])
    monkeypatch.chdir(tmp_path)
    for flags in (["--cfg", "all"], ["--cfg", "job", "--resolve"], ["--info", "all"]):
        assert main(flags) == 0
        shown = "".join(capsys.readouterr())
        assert "epochs" in shown
        assert not [secret for secret in (KEY, JWT) if secret in shown]
    assert holding(tmp_path, [KEY, JWT]) == []


def test_the_command_line_goes_before_the_files_parameters(tmp_path: Path) -> None:
    own = tmp_path / "sweep" / "mine.yaml"
    own.parent.mkdir()
    own.write_text("# @package _global_\nhydra:\n  sweeper:\n    params:\n      epochs: 1,2\n      seed: range(3)\n")
    words = expanded(["sweep=mine", "epochs=5", "task=experiment"], config_dir(), tmp_path)
    expected = ["+sweep=mine", "hydra.sweeper.params=null", "seed=range(3)", "epochs=5", "task=experiment"]
    assert words == expected
    assert expanded(["epochs=5"], config_dir(), tmp_path) == ["epochs=5"]
    own.write_text("hydra: [no mapping]")
    with pytest.raises(ConfigError, match=r"mine\.yaml is not a sweep:"):
        expanded(["sweep=mine"], config_dir(), tmp_path)


def test_each_job_has_the_addresses_again(tmp_path: Path) -> None:
    """A launcher's files have no key. A job in another process reads the address from the user's settings."""
    data = tmp_path / "conf" / "dataset" / "mine.yaml"
    data.parent.mkdir(parents=True)
    file = {"file": "a.csv", "urls": [MIRROR]}
    entry = {"name": "mine", "kind": "text", "num_classes": 2, "folder": "mine", "downloads": [file]}
    data.write_text(json.dumps({"_target_": "decloud_pl.data.formats.tables.Tables", "root": None, "entry": entry}))
    (tmp_path / "config.json").write_text(json.dumps({"data.mirror": f"{MIRROR}/2"}))
    environ = {"DECLOUD_HOME": str(tmp_path)}
    given = sources(["dataset=mine", "seed=5"], environ=environ)
    sent = shown_overrides(given, composed(given))
    assert "aMirrorsKey" not in str(sent)
    for text in sent:  # Hydra must be able to parse each of them
        OverridesParser.create().parse_overrides([text])
    assert "++data.mirror='https://mirror.example.org/…'" in sent
    again = [text for text in without_shown(sent) if not text.startswith("hydra.")]
    assert again == ["dataset=mine", "seed=5"]
    settings = composed(sources(again, environ=environ)).settings
    assert (settings.data.mirror, settings.dataset["entry"]["downloads"][0]["urls"]) == (f"{MIRROR}/2", [MIRROR])


def test_one_that_fails_does_not_stop_the_others(
    sweep: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep(tmp_path, "task=experiment", "learning_rate=1e-3,1e30") == 10
    (folder,) = (tmp_path / "sweeps").iterdir()
    results = [json.loads((folder / name / "result.json").read_text()) for name in "01"]
    assert results[0]["error"] is None
    assert "Lower learning_rate" in results[1]["error"]
    assert "failed" in capsys.readouterr().out


def run_job(folder: Path, task: list[str]) -> None:
    """Run a job that fails, as a launcher does."""
    runtime = {"runtime": {"output_dir": str(folder)}, "overrides": {"task": task}}
    node = OmegaConf.create({"hydra": OmegaConf.merge(OmegaConf.structured(HydraConf), runtime)})
    HydraConfig.instance().set_config(node)
    try:
        assert math.isnan(job(OmegaConf.create()))
    finally:
        HydraConfig.instance().cfg = None


def test_a_run_whose_settings_are_wrong_is_a_row_of_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sweeper that generates its own values may cause this, or a launcher whose machine lacks something."""
    monkeypatch.setenv("DECLOUD_HOME", str(tmp_path))
    for number, word in enumerate(("abc", "def")):
        task = ["task=experiment", "trainer.limit_train_batches=2", f"optimizer.lr={word}"]
        run_job(tmp_path / "sweeps" / "one" / str(number), task)
    results = read_sweeps(tmp_path)
    assert [result.error for result in results] == [
        f'optimizer.lr must be a number (got "{word}").' for word in ("abc", "def")
    ]
    whole = {"seed": 0, "trainer.limit_train_batches": 2, "optimizer.lr": 0.001}
    good = replace(results[0], run="2", dataset="digits", parameters=whole, error=None)
    assert differing([*results, good]) == ["optimizer.lr"]
    capsys.readouterr()
    assert trainer(["sweeps"]) == 0
    shown = capsys.readouterr().out
    assert "optimizer.lr=abc" in shown
    assert shown.count("failed") == 2
    assert "Traceback" not in shown


class Broken:
    """A data set whose code has a defect."""

    @property
    def kind(self) -> str:
        raise ZeroDivisionError(f"at {MIRROR}")


def test_a_run_whose_own_code_fails_is_a_row_of_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DECLOUD_HOME", str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"allow_packages": ["tests"]}))
    file = tmp_path / "conf" / "dataset" / "broken.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(f"_target_: {Broken.__module__}.Broken\n")
    run_job(tmp_path / "sweeps" / "one" / "0", ["task=experiment", "dataset=broken"])
    (result,) = read_sweeps(tmp_path)
    said = "The experiment failed: ZeroDivisionError: at https://mirror.example.org/…. Read the traceback"
    assert said in str(result.error)
    assert "Traceback (most recent call last)" in caplog.text
    assert "aMirrorsKey" not in caplog.text


def test_every_data_set_is_downloaded_before_the_sweep(
    sweep: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An experiment cannot download it from the mirror, because the mirror's address may contain a key."""
    tiny.write("mnist", tmp_path / "data")
    (tmp_path / "empty").mkdir()
    serve = partial(SimpleHTTPRequestHandler, directory=tmp_path / "empty")
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        mirror = f"http://127.0.0.1:{server.server_port}/key"
        code = sweep(tmp_path, "task=experiment", "seed=1,2", "dataset=mnist,kmnist", DECLOUD_DATA_MIRROR=mirror)
        server.shutdown()
    assert code == 8
    said = "of the data set kmnist cannot be downloaded (127.0.0.1: the server returned HTTP 404)"
    assert said in capsys.readouterr().err
    assert not (tmp_path / "sweeps").exists()


def test_data_sets_are_the_first_values_that_are_checked(tmp_path: Path) -> None:
    many = [f"{name}={','.join(map(str, range(8, 40)))}" for name in ("seed", "batch_size")]
    words = ["task=experiment", *many, "dataset=mnist,kmnis"]
    given = sources(words, environ={"DECLOUD_HOME": str(tmp_path)}, sweep=True)
    with pytest.raises(ConfigError, match="Did you mean 'kmnist'"):
        checked_points(given)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["sweep=joblb"], "Unknown sweep 'joblb'. Did you mean 'joblib'?"),
        (["hydra/launcher=jobbb"], "Hydra's launcher 'jobbb' is not installed."),
        (
            ["hydra/launcher=joblib", "hydra.launcher.n_job=2"],
            "Hydra reports: Could not override 'hydra.launcher.n_job'",
        ),
        (["+epoch=1,2"], "Did you mean 'epochs'?"),
        (["optimizer=adm,sgd"], "Did you mean 'adam"),
        (["epochs=[1"], "cannot be read"),
        (["task=daemon"], "A sweep can only run experiments"),
        (["epochs=many,2"], 'epochs must be a whole number (got "many").'),
        (["learning_rate=1e-3,abc,1e-2"], 'learning_rate must be a number (got "abc").'),
        (["optimizer.lr=1e-3,abc"], 'optimizer.lr must be a number (got "abc").'),
        (["seed=1,2", "optimizer=adam,sdg"], "Unknown optimizer 'sdg'. Did you mean 'sgd'?"),
        (["epochs=1,0"], "epochs must be at least 1 (got 0)."),
        (["paths.mnits=/data"], "paths: unknown data set 'mnits'. Did you mean 'mnist'?"),
        (["hydra.sweep.dir=elsewhere"], "hydra.sweep.dir does not apply, because the program itself chooses"),
        ([f"data.mirror={MIRROR}"], "decloud-trainer config --set data.mirror=-"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(
    overrides: list[str],
    words: str,
    sweep: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    task = [] if overrides[0].startswith(("task", "sweep")) else ["task=experiment"]
    assert sweep(tmp_path, *task, *overrides) == 3
    shown = capsys.readouterr().err
    assert len(shown.strip().splitlines()) == 1
    assert words in shown
    assert "aMirrorsKey" not in shown
    assert "Traceback" not in shown
    assert not (tmp_path / "sweeps").exists()


@pytest.mark.parametrize(
    ("group", "text", "words"),
    [
        ("rewards", "min: [1\n", "broken.yaml:2: invalid YAML"),
        ("rewards", "defaults: [broken, _self_]\n", "a file includes itself"),
        ("storage", "defaults: [broken, _self_]\nkind: kubo\n", "a file includes itself"),
    ],
)
def test_a_broken_file_is_said_as_for_one_run(group: str, text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "conf" / group / "broken.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    (tmp_path / "config.json").write_text(json.dumps({group: "broken"}))
    environ = {"DECLOUD_HOME": str(tmp_path)}
    said = []
    for check, overrides in ((composed, ["task=experiment"]), (checked_points, ["task=experiment", "seed=1,2"])):
        with pytest.raises(ConfigError, match=re.escape(words)) as caught:
            check(sources(overrides, environ=environ, sweep=True))
        said.append(str(caught.value))
    assert said[0] == said[1]
