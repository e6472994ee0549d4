"""Workers that fail, hang, are killed or are stopped, on this machine and on a Ray cluster."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from decloud_pl.config.schema import RayConfig
from decloud_pl.errors import (
    ExecutorUnavailable,
    MachineShortage,
    TrainingError,
    TrainingStopped,
    UntrustedFileRejected,
)
from decloud_pl.executors.process import UPDATE_FILE, Executor, ProcessExecutor
from decloud_pl.executors.ray.executor import RayExecutor
from decloud_pl.executors.update_file import read_update
from decloud_pl.store.ipfs.unixfs import cid_of_file
from tests.harness.plans import PLAN_FILES, write_plan
from tests.harness.ray_cluster import RayCluster

_SAY = "import json, os, signal, sys, time\ndef say(**m): print(json.dumps(m), flush=True)\n"


def on_this_machine(script: str, **options: Any) -> ProcessExecutor:
    """Return an executor whose worker runs ``script``. ``sys.argv[1]`` is the worker's folder."""
    return ProcessExecutor(command=(sys.executable, "-c", _SAY + script), **options)


@pytest.fixture(params=["process", pytest.param("ray", marks=pytest.mark.ray)])
def executor(request: pytest.FixtureRequest) -> Callable[..., Executor]:
    """A function like `on_this_machine`, for each kind of executor."""
    if request.param == "process":
        return on_this_machine
    cluster: RayCluster = request.getfixturevalue("ray")

    def on_the_cluster(script: str, environ: Mapping[str, str] | None = None, **options: Any) -> RayExecutor:
        command = (sys.executable, "-c", _SAY + script)
        return RayExecutor(RayConfig(cluster.address), environ, command=command, **options)

    return on_the_cluster


async def run(executor: Executor, folder: Path, heard: list[Mapping[str, object]] | None = None) -> None:
    """Run a worker; collect its messages in ``heard``, without the notes about the cluster."""
    write_plan(folder)

    def on_progress(message: Mapping[str, object]) -> None:
        if heard is not None and "of the Ray cluster" not in str(message.get("note")):
            heard.append(message)

    await executor.train(folder, on_progress, environment={})


async def test_what_it_says_and_its_update_come_back(executor: Callable[..., Executor], tmp_path: Path) -> None:
    content = tmp_path / "content"
    content.write_bytes(b"an update")
    update = {"path": "update.pt", "cid": str(cid_of_file(content)), "profile": "kubo-v1", "size": 9}
    update |= {"convention": "delta", "accuracy_before": 0.1, "accuracy_after": 0.9}
    content.unlink()
    script = (
        "from pathlib import Path\n"
        "say(step=1)\nprint('noise')\nprint('[1]')\nsay(step=2)\nprint('more', file=sys.stderr)\n"
        "folder = Path(sys.argv[1])\n"
        "assert (folder / 'base-model').read_bytes() == b'a base model' * 4_000_000\n"
        "(folder / 'update.pt').write_bytes(b'an update')\n"
        f"(folder / 'update.json').write_text({json.dumps(update)!r})\n"
    )
    (tmp_path / "base-model").write_bytes(b"a base model" * 4_000_000)
    heard: list[Mapping[str, object]] = []
    await run(executor(script), tmp_path, heard)
    assert heard == [{"step": 1}, {"step": 2}]
    assert "more" in (tmp_path / "worker.log").read_text()
    assert (tmp_path / "worker.log").stat().st_mode & 0o077 == 0
    found = read_update(tmp_path / UPDATE_FILE)
    assert found is not None
    assert found.path.read_bytes() == b"an update"
    files = {path.name for path in found.path.parent.glob("*")}
    assert files == {"base-model", *PLAN_FILES, "update.json", "update.pt", "worker.log"}


async def test_it_gets_no_secret(executor: Callable[..., Executor], tmp_path: Path) -> None:
    script = "say(env=dict(os.environ))\n"
    environ = {**os.environ, "DECLOUD_PRIVATE_KEY": "k-e-y", "PINATA_JWT": "j-w-t"}
    # These addresses contain a password or a key, but their names do not show it.
    environ |= {"DECLOUD_NOTIFY_URLS": "mailto://me:l-o-g-i-n@mail", "DECLOUD_NETWORK_RPC_URL": "https://rpc/k-e-y"}
    heard: list[Mapping[str, object]] = []
    await run(executor(script, environ=environ), tmp_path, heard)
    found = heard[0]["env"]
    assert isinstance(found, dict)
    assert "PATH" in found
    assert not {"DECLOUD_PRIVATE_KEY", "PINATA_JWT", "NODE_SECRET"} & set(found)
    assert not [value for value in found.values() if any(word in value for word in ("k-e-y", "j-w-t", "l-o-g-i-n"))]


async def test_it_gets_its_share(tmp_path: Path) -> None:
    script = "say(gpus=os.environ['CUDA_VISIBLE_DEVICES'])\n"
    environ = {**os.environ, "DECLOUD_PASS_ENV": "MY_FOLDER, MY_TOKEN", "MY_FOLDER": "/data", "MY_TOKEN": "mine"}
    named = "assert os.environ['MY_FOLDER'] == '/data' and os.environ['MY_TOKEN'] == 'mine'\n"
    executor = on_this_machine(named + script, environ=environ)
    heard: list[Mapping[str, object]] = []
    await executor.train(tmp_path, heard.append, environment={"CUDA_VISIBLE_DEVICES": "3"})
    assert heard == [{"gpus": "3"}]


async def test_what_a_killed_worker_leaves_behind_does_not_keep_us_waiting(
    executor: Callable[..., Executor], tmp_path: Path
) -> None:
    """A data loader's process inherits standard output and keeps it open after the worker has ended."""
    script = (
        "import subprocess\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "say(pid=child.pid)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    heard: list[Mapping[str, object]] = []
    with pytest.raises(MachineShortage, match="memory"):
        await asyncio.wait_for(run(executor(script), tmp_path, heard), 60)
    # SIGKILL takes effect later. On a machine where no process reaps orphans, a zombie remains.
    deadline = time.monotonic() + 10
    while _alive(int(str(heard[0]["pid"]))):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_a_worker_that_is_stopped_writes_its_checkpoint(
    executor: Callable[..., Executor], tmp_path: Path
) -> None:
    script = (
        "from pathlib import Path\n"
        "import threading\n"
        # Like the real worker, exit when standard input closes: then the daemon has ended.
        "threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()\n"
        "def stop(*_):\n"
        "    time.sleep(0.3)\n"
        "    Path(sys.argv[1], 'training.ckpt').write_text('here')\n"
        "    os._exit(75)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "say(ready=True)\n"
        "time.sleep(600)\n"
    )
    ready = asyncio.Event()
    write_plan(tmp_path)

    def on_progress(message: Mapping[str, object]) -> None:
        if message.get("ready"):
            ready.set()

    training = asyncio.create_task(executor(script).train(tmp_path, on_progress, environment={}))
    await asyncio.wait_for(ready.wait(), 60)
    training.cancel()
    with pytest.raises(asyncio.CancelledError):
        await training
    assert (tmp_path / "training.ckpt").read_text() == "here"


ENDS: dict[str, tuple[str, type[Exception] | None, str]] = {
    "good": ("time.sleep(0.5)", None, ""),
    "slow": ("for step in range(8):\n    say(step=step)\n    time.sleep(0.5)\n", None, ""),
    "hangs": ("signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)", TrainingError, "no progress"),
    "killed": ("os.kill(os.getpid(), signal.SIGKILL)", MachineShortage, "was killed, probably because memory ran out"),
    "ended": ("os.kill(os.getpid(), signal.SIGTERM)", MachineShortage, "was ended by SIGTERM from another process"),
    "short": ("say(error='No disk space left.')\nsys.exit(16)", MachineShortage, "No disk space left."),
    "segfault": ("os.kill(os.getpid(), signal.SIGSEGV)", TrainingError, "was killed by signal 11"),
    "code": ("sys.exit(7)", TrainingError, "ended with exit code 7"),
    "uncaught": ("raise RuntimeError", TrainingError, "ended with exit code 1"),
    "word": ("say(error='It diverged.')\nsys.exit(10)", TrainingError, "It diverged."),
    "stopped": ("say(error='Somebody came.')\nsys.exit(75)", TrainingStopped, "Somebody came."),
    "no room": ("say(error='Later.')\nsys.exit(69)", ExecutorUnavailable, "Later."),
    "stranger": ("say(error='Not a model.')\nsys.exit(9)", UntrustedFileRejected, "Not a model."),
}
"""Workers by name: the script, the exception it causes (if any), and a part of the exception's message."""
SENT_BACK = ("slow", "hangs", "killed", "code", "stopped", "no room", "stranger")
"""One worker for each kind of end that a Ray cluster sends back. Each costs two processes that import Ray."""


async def test_parallel_workers_end_as_described_and_do_not_hurt_each_other(
    executor: Callable[..., Executor], tmp_path: Path
) -> None:
    ends = ENDS if executor is on_this_machine else {name: ENDS[name] for name in SENT_BACK}
    runs = []
    heard: dict[str, list[Mapping[str, object]]] = {}
    for name, (script, _, _) in ends.items():
        folder = tmp_path / name
        folder.mkdir()
        whole = f"say(pid=os.getpid())\n{script}\n"
        runs.append(run(executor(whole, hang_seconds=3.0, grace=0.5), folder, heard.setdefault(name, [])))
    results = await asyncio.gather(*runs, return_exceptions=True)
    for result, (name, (_, kind, words)) in zip(results, ends.items(), strict=True):
        if kind is None:
            assert result is None, (name, result)
        else:
            assert type(result) is kind, (name, result)
            assert words in str(result)
            log = str(tmp_path / name / "worker.log")
            assert (log in str(result)) is ("was killed by" in words or "exit code" in words)
    assert len(heard["slow"]) == 9
    assert [name for name, said in heard.items() if _alive(int(str(said[0]["pid"])))] == []


@pytest.mark.skipif(not Path("/proc/self/oom_score_adj").exists(), reason="Linux has this file")
async def test_the_kernel_takes_the_worker_first(tmp_path: Path) -> None:
    script = "time.sleep(0.3)\nsay(score=int(open('/proc/self/oom_score_adj').read()))\n"
    heard: list[Mapping[str, object]] = []
    await run(on_this_machine(script), tmp_path, heard)
    assert heard == [{"score": 500}]
