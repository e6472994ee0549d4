"""The part of a training on a machine of the cluster, without a cluster."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from decloud_pl.errors import DatasetNotFound
from decloud_pl.executors.ray.node import Found, NodeWorker, clear_abandoned, local_dataset, localize_plan
from decloud_pl.executors.ray.options import RayOptions
from decloud_pl.settings import compose
from decloud_pl.settings.training import TrainingConfig
from decloud_pl.train.plan import RoundFile, TrainingPlan
from tests.harness.plans import write_plan


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where actors make their folders."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def node(scratch: Path) -> Iterator[Callable[..., NodeWorker]]:
    """Makes actors of this process around a script; closed with the test, or their lease would end this process."""
    made: list[NodeWorker] = []

    def make(script: str = "") -> NodeWorker:
        made.append(NodeWorker(RayOptions(command=(sys.executable, "-c", script), chunk_bytes=4).to_json()))
        return made[-1]

    yield make
    for worker in made:
        worker.close()


def test_files_arrive_in_parts_and_stay_as_they_were_found(scratch: Path, node: Callable[..., NodeWorker]) -> None:
    worker = node()
    folder = Path(worker.hello()["folder"])
    assert worker.hello()["folder"] == str(folder)
    for _ in range(2):  # an answer may be lost: the call is made again
        worker.write("file", 0, b"abcd")
    worker.write("file", 4, b"efg")
    assert worker.find("file") == Found(7, hashlib.sha256(b"abcdefg").hexdigest())
    (folder / "new").write_bytes(b"12345678")
    (folder / "new").replace(folder / "file")
    assert [worker.read("file", 0), worker.read("file", 4), worker.read("file", 7)] == [b"abcd", b"efg", b""]
    assert worker.find("absent") is None
    for name in ("../file", "/etc/passwd", "a/b"):
        with pytest.raises(ValueError, match=name):
            worker.find(name)
    worker.close()
    assert list(scratch.iterdir()) == []


def test_news_that_did_not_arrive_are_told_again(node: Callable[..., NodeWorker]) -> None:
    worker = node("for n in range(3): print('{\"n\": %d}' % n)")
    worker.hello()
    write_plan(Path(worker.hello()["folder"]))
    worker.start(None)
    worker.start(None)  # as above
    said: list[object] = []
    while (news := worker.news(len(said), 0)).ended is None:
        assert worker.news(len(said), 0).messages[: len(news.messages)] == news.messages
        said += news.messages
    said += news.messages
    assert said == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert news.ended.code == 0
    worker.stop()  # too late, and no harm


def test_what_a_killed_actor_left_behind_is_cleared(scratch: Path, node: Callable[..., NodeWorker]) -> None:
    code = (
        "import os, sys\nfrom decloud_pl.executors.ray.node import NodeWorker\n"
        "from decloud_pl.executors.ray.options import RayOptions\n"
        "NodeWorker(RayOptions().to_json()).hello()\nos._exit(1)"
    )
    environ = {"TMPDIR": str(scratch), "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", code], env=environ, check=False)
    (left,) = scratch.iterdir()
    worker = node()
    held = Path(worker.hello()["folder"])
    assert not left.exists()
    clear_abandoned(scratch)
    assert held.exists()


def test_without_a_lease_it_ends_and_takes_its_worker_along(scratch: Path) -> None:
    code = (
        "import sys, time\nfrom decloud_pl.executors.ray.node import NodeWorker\n"
        "from decloud_pl.executors.ray.options import RayOptions\n"
        "command = (sys.executable, '-c', 'import sys, os; sys.stdin.read(); os._exit(1)')\n"
        "worker = NodeWorker(RayOptions(lease_seconds=0.5, command=command).to_json())\n"
        "from pathlib import Path\nfrom tests.harness.plans import write_plan\n"
        "write_plan(Path(worker.hello()['folder']))\nworker.start(None)\ntime.sleep(600)"
    )
    environ = {"TMPDIR": str(scratch), "PATH": "/usr/bin:/bin"}
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], env=environ, check=False, timeout=60)
    assert done.returncode == 1
    assert time.monotonic() - begun < 60
    assert list(scratch.iterdir()) == []


def test_a_plan_is_for_the_machine_that_trains(tmp_path: Path) -> None:
    there = RoundFile(Path("/there/base"), Path("/there"), finish_by=1.0, threads=99, given=("optimizer",))
    TrainingPlan(there, TrainingConfig(seed=3)).write(tmp_path)
    before = time.time()
    localize_plan(tmp_path, cpus=2, seconds_left=100.0)
    here = TrainingPlan.read(tmp_path)
    assert here.round.finish_by is not None
    assert before + 100 <= here.round.finish_by <= time.time() + 100
    kept = dataclasses.replace(here.round, finish_by=None)
    assert kept == RoundFile(tmp_path / "base-model", tmp_path, threads=2, given=("optimizer",))
    assert here.config == TrainingConfig(seed=3)
    localize_plan(tmp_path, cpus=1, seconds_left=None)
    assert TrainingPlan.read(tmp_path).round.finish_by is None


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
    with pytest.raises(DatasetNotFound, match="at the same path on every machine"):
        local_dataset({**mine, "root": str(tmp_path / "absent.csv?text=a&label=b")})
