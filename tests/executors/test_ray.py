"""Trainings on a Ray cluster whose machines die, are full or cannot be reached."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch

from decloud_pl.config import compose
from decloud_pl.config.schema import RayConfig
from decloud_pl.domain import Update
from decloud_pl.errors import ConfigError, ExecutorUnavailable, TrainingError
from decloud_pl.executors.ray.actor import TrainingActor
from decloud_pl.executors.ray.executor import DRIVER_MODULE, RayExecutor
from decloud_pl.executors.update_file import write_update
from decloud_pl.journal.record import State
from decloud_pl.models.registry import build
from decloud_pl.rounds.events import Training
from decloud_pl.rounds.planner import SettingsPlanner
from decloud_pl.store.ipfs.unixfs import cid_of_file
from tests.harness.parties import history
from tests.harness.plans import PLAN_FILES, write_plan
from tests.harness.ray_cluster import RayCluster
from tests.world import World

PATIENCE = 300.0  # two workers import torch and Lightning, beside the other tests
SECRETS = {"DECLOUD_PRIVATE_KEY": "5KEYthatNoMachineMaySee", "PINATA_JWT": "eyJ.thatNoMachineMaySee"}


def places_of(secrets: Mapping[str, str], cluster: RayCluster) -> list[str]:
    """Return the cluster's files and processes that contain a secret."""
    needles = [secret.encode() for secret in secrets.values()]
    found: list[str] = []
    for path in cluster.folder.rglob("*"):
        with suppress(FileNotFoundError):  # Ray removes temporary files during this loop
            if path.is_file() and not path.is_symlink() and any(needle in path.read_bytes() for needle in needles):
                found.append(str(path))
    for process in psutil.Process(cluster.pid).children(recursive=True):
        try:
            said = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            continue
        if any(secret in text for secret in secrets.values() for text in said):
            found.append(str(process))
    return found


async def test_a_round_whose_machine_is_killed_is_claimed(
    world: World, ray: RayCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    torch.save(build("simple_cnn", {"num_classes": 10}).state_dict(), tmp_path / "base.pt")
    world.executor = RayExecutor(RayConfig(ray.address, checkpoint_seconds=0.1))
    course = ("epochs=10", "max_batches=20", "trainer.checkpoint_seconds=0.000001")
    world.planner = SettingsPlanner(compose(["trainer=cpu", "daemon.executor=ray", *course]))
    await asyncio.to_thread(ray.add)

    def said() -> list[Training]:
        return [event for event in world.diary.events if isinstance(event, Training)]

    def steps() -> list[int]:
        return [event.step for event in said() if event.stage == "fit"]

    async with world.daemon() as daemon:
        round_id = await world.post(model=tmp_path / "base.pt")
        await world.diary.reaches(round_id, State.WAITING)
        checkpoint = world.home / "rounds" / str(round_id) / "training.ckpt"
        await world.begin(round_id)
        await world.diary.until(checkpoint.exists, patience=PATIENCE)
        reached = max(steps())
        await asyncio.to_thread(ray.kill_the_training)
        await world.diary.until(
            lambda: any("The Ray cluster lost" in event.note for event in said()), patience=PATIENCE
        )
        before = len(steps())
        await world.diary.until(lambda: len(steps()) > before, patience=PATIENCE)
        assert places_of(SECRETS, ray) == []
        await world.diary.reaches(round_id, State.SUBMITTED, patience=PATIENCE)
        again = steps()[before:]
        assert 1 < again[0] <= max(again) == 200
        assert reached < 200
        assert world.row(round_id).attempts == 0
        await world.complete(round_id)
        await world.diary.reaches(round_id, State.CLAIMED)
        assert daemon.ended[0].train_seconds is not None
    address = world.dialect.submission_address(round_id, world.wallet.address)
    assert history(world.network, address) == ["JoinRound", "SubmitGradients", "SetContribution", "ClaimReward"]
    assert places_of(SECRETS, ray) == []


def test_a_killed_driver_leaves_nothing_behind(ray: RayCluster, tmp_path: Path) -> None:
    write_plan(tmp_path)
    script = "import json, os, time; print(json.dumps({'pid': os.getpid()}), flush=True); time.sleep(600)"
    config = json.dumps(dataclasses.asdict(RayConfig(ray.address)))
    worker = json.dumps({"command": [sys.executable, "-c", script], "grace": 1.0, "hang_seconds": 600.0})
    command = [sys.executable, "-m", DRIVER_MODULE, config, worker, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, start_new_session=True
    ) as driver:
        training = _pid_in(driver)
        driver.kill()
        gone, alive = psutil.wait_procs([training], timeout=30)
    assert (gone, alive) == ([training], [])
    # The next training on that machine removes these files. It removes its own files when it ends.
    executor = RayExecutor(RayConfig(ray.address), command=(sys.executable, "-c", ""))
    for _ in range(10):  # Ray ends the actor of a killed driver some time later; until then its folder is in use
        asyncio.run(executor.train(tmp_path, print, environment={}))
        if not (left := list(ray.folder.glob("decloud-ray-*"))):
            break
    assert left == []


async def test_a_training_that_lost_every_machine_waits_for_others(ray: RayCluster, tmp_path: Path) -> None:
    """The messages of every attempt arrive. Each starts from the checkpoint of the previous one and keeps its plan."""
    write_plan(tmp_path)
    script = (
        "import json, os, signal, sys, time\nfrom pathlib import Path\n"
        "plan, checkpoint = (Path(sys.argv[1], name) for name in ('budget.json', 'training.ckpt'))\n"
        "before = checkpoint.read_text() if checkpoint.exists() else ''\n"
        "print(json.dumps({'before': before, 'planned': plan.exists()}), flush=True)\n"
        "plan.write_text('planned')\n"
        "checkpoint.with_name('new').write_text(before + 'x')\ncheckpoint.with_name('new').replace(checkpoint)\n"
        "time.sleep(2)\nos.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(600)"
    )
    heard: list[Mapping[str, object]] = []
    executor = RayExecutor(RayConfig(ray.address, checkpoint_seconds=0), command=(sys.executable, "-c", script))
    with pytest.raises(ExecutorUnavailable, match="The Ray cluster lost"):
        await executor.train(tmp_path, heard.append, environment={})
    begun = [said for said in heard if "before" in said]
    assert [said["before"] for said in begun] == ["", "x", "xx", "xxx"]
    assert [said["planned"] for said in begun] == [False, True, True, True]
    assert (tmp_path / "training.ckpt").read_text() == "xxxx"


def test_all_that_a_resume_needs_is_sent_back_once(tmp_path: Path) -> None:
    """Without a cluster: the actor that Ray would run."""
    write_plan(tmp_path)
    names = ("probe.json", "budget.json", "training.ckpt", "lower-rate.ckpt")
    script = f"import sys\nfrom pathlib import Path\nfor name in {names}: Path(sys.argv[1], name).write_text(name)"
    plan = {name: (tmp_path / name).read_bytes() for name in PLAN_FILES}

    def sent_back(script: str, files: Mapping[str, bytes]) -> Mapping[str, bytes]:
        worker = {"command": (sys.executable, "-c", f"{script}\nsys.exit(3)"), "grace": 1.0, "hang_seconds": 60.0}
        actor = TrainingActor(RayConfig(), worker)
        actor.receive(list(files), *files.values())
        training = actor.train(None)
        last = next(training)  # the worker says nothing, and no checkpoint is due before it ends
        with pytest.raises(TrainingError, match="exit code 3"):
            next(training)
        return last.files

    first = sent_back(script, plan)
    assert first == {name: name.encode() for name in names}
    assert sent_back("import sys", {**plan, **first}) == {}
    later = "import sys\nfrom pathlib import Path\nPath(sys.argv[1], 'lower-rate.ckpt').write_text('later')"
    assert sent_back(later, {**plan, **first}) == {
        **{name: first[name] for name in ("probe.json", "budget.json")},
        "lower-rate.ckpt": b"later",
    }


def _pid_in(driver: subprocess.Popen[bytes]) -> psutil.Process:
    assert driver.stdout is not None
    for line in driver.stdout:
        message = json.loads(line)
        if "pid" in message:
            return psutil.Process(message["pid"])
    raise AssertionError(driver.wait())


async def test_what_cannot_be_is_said_in_bounded_time(ray: RayCluster, tmp_path: Path) -> None:
    """A damaged update, no machine large enough, a refused connection and a silent address, all at once."""
    update = {"path": "update.pt", "cid": "bafkqaaa", "profile": "kubo-v1", "size": 9, "convention": "delta"}
    update |= {"accuracy_before": 0.1, "accuracy_after": 0.9}
    damaged = (
        "import sys\nfrom pathlib import Path\nfolder = Path(sys.argv[1])\n"
        f"(folder / 'update.pt').write_bytes(b'an update')\n(folder / 'update.json').write_text({json.dumps(update)!r})"
    )
    cases: dict[str, tuple[RayConfig, type[Exception], str]] = {
        "damaged": (
            RayConfig(ray.address),
            TrainingError,
            "was damaged on its way",
        ),
        "large": (
            RayConfig(ray.address, cpus=99, gpus=2, wait_seconds=1),
            ExecutorUnavailable,
            "No machine of the Ray cluster has 99 CPUs and 2 GPUs; the largest has 16 CPUs and 0 GPUs. Lower",
        ),
        "nowhere": (
            RayConfig("127.0.0.2:9"),
            ExecutorUnavailable,
            "The Ray cluster at 127.0.0.2:9 cannot be reached: Connection refused.",
        ),
        "silent": (
            RayConfig("127.0.0.1:9", connect_seconds=2),
            ExecutorUnavailable,
            "The Ray cluster at 127.0.0.1:9 cannot be reached: no answer.",
        ),
    }
    runs = []
    for name, (config, _, _) in cases.items():
        folder = tmp_path / name
        folder.mkdir()
        write_plan(folder)
        executor = RayExecutor(config, command=(sys.executable, "-c", damaged))
        runs.append(executor.train(folder, lambda _: None, environment={}))
    checks = [RayExecutor(RayConfig(ray.address, cpus=cpus)).check() for cpus in (2, 99)]
    found, small, *results = await asyncio.gather(*checks, *runs, return_exceptions=True)
    assert "16 CPUs, 0 GPUs, Ray 2" in str(found)
    assert "needs 2 CPUs" in str(found)
    assert isinstance(small, ExecutorUnavailable)
    for result, (name, (_, kind, words)) in zip(results, cases.items(), strict=True):
        assert type(result) is kind, (name, result)
        assert words in str(result)
    assert {path.name for path in (tmp_path / "damaged").glob("*")} == {*PLAN_FILES, "worker.log"}


def test_an_update_that_was_recorded_before_a_failure_is_sent_back(tmp_path: Path) -> None:
    """A worker can be killed in another training, after the first one. Without a cluster: the actor that Ray runs."""
    write_plan(tmp_path)
    path = tmp_path / "update.pt"
    path.write_bytes(b"an update")
    update = Update(path, str(cid_of_file(path, "kubo-v1")), "kubo-v1", 9, "delta")
    write_update(tmp_path / "update.json", update)
    recorded = {name: (tmp_path / name).read_bytes() for name in ("update.pt", "update.json")}
    script = "import sys\nfrom pathlib import Path\n"
    script += "".join(f"Path(sys.argv[1], {name!r}).write_bytes({data!r})\n" for name, data in recorded.items())
    worker = {"command": (sys.executable, "-c", f"{script}sys.exit(3)"), "grace": 1.0, "hang_seconds": 60.0}
    actor = TrainingActor(RayConfig(), worker)
    plan = {name: (tmp_path / name).read_bytes() for name in PLAN_FILES}
    actor.receive(list(plan), *plan.values())
    training = actor.train(None)
    assert next(training).files == recorded
    with pytest.raises(TrainingError, match="exit code 3"):
        next(training)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'decloud_pl\[ray\]'"):
        RayExecutor(RayConfig())
