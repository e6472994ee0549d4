"""Training plans on a machine other than the daemon's."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest

from decloud_pl.config import compose
from decloud_pl.config.training import TrainingConfig
from decloud_pl.errors import DatasetNotFound
from decloud_pl.executors.localize import local_dataset, localize_plan
from decloud_pl.train.plan import RoundFile, TrainingPlan


def test_a_plan_is_for_the_machine_that_trains(tmp_path: Path) -> None:
    there = RoundFile(Path("/there/base"), Path("/there"), finish_by=1.0, threads=99, given=("optimizer",))
    TrainingPlan(there, TrainingConfig(seed=3)).write(tmp_path)
    before = time.time()
    localize_plan(tmp_path, tmp_path / "base-model", threads=2, seconds_left=100.0)
    here = TrainingPlan.read(tmp_path)
    assert here.round.finish_by is not None
    assert before + 100 <= here.round.finish_by <= time.time() + 100
    kept = dataclasses.replace(here.round, finish_by=None)
    assert kept == RoundFile(tmp_path / "base-model", tmp_path, threads=2, given=("optimizer",))
    assert here.config == TrainingConfig(seed=3)
    localize_plan(tmp_path, tmp_path / "base-model", threads=1, seconds_left=None)
    assert TrainingPlan.read(tmp_path).round.finish_by is None


@pytest.mark.slow
def test_a_published_data_set_is_where_the_daemon_says_or_in_the_machines_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = compose(["dataset=mnist", f"data.folder={tmp_path / 'of-the-daemon'}", "data.mirror=http://127.0.0.1:1"])
    monkeypatch.setenv("DECLOUD_HOME", str(tmp_path / "own"))
    found = local_dataset(settings.dataset)
    assert found["data"] == {"folder": str(tmp_path / "own" / "data"), "mirror": "http://127.0.0.1:1", "download": True}
    assert {**found, "data": None} == {**settings.dataset, "data": None}
    raw = tmp_path / "of-the-daemon" / settings.dataset["entry"]["folder"]
    raw.mkdir(parents=True)
    for file in settings.dataset["entry"]["files"]:
        (raw / file).touch()
    assert local_dataset(settings.dataset) == settings.dataset
    embedded = compose(["dataset=digits"]).dataset
    assert local_dataset(embedded) == embedded


def test_a_users_own_path_must_be_on_every_machine(tmp_path: Path) -> None:
    mine = {"_target_": "decloud_pl.data.user_files.UserFiles", "name": "mine", "root": str(tmp_path), "num_classes": 2}
    assert local_dataset(mine) == mine
    with pytest.raises(DatasetNotFound, match="the same path on every machine"):
        local_dataset({**mine, "root": str(tmp_path / "absent.csv?text=a&label=b")})
