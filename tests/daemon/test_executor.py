"""Workers that fail, hang, are killed or stopped: what happens to them, and what is left."""

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

from decloud_pl.daemon.executor import ProcessExecutor, worker_environment
from decloud_pl.errors import TrainingError

_SAY = "import json, os, signal, sys, time\ndef say(**m): print(json.dumps(m), flush=True)\n"


def executor(script: str, **options: Any) -> ProcessExecutor:
    """An executor of a worker that runs ``script``; ``sys.argv[1]`` is the round's folder."""
    return ProcessExecutor(command=(sys.executable, "-c", _SAY + script), **options)


async def run(executor: ProcessExecutor, folder: Path, **environment: str) -> list[Mapping[str, object]]:
    messages: list[Mapping[str, object]] = []
    await executor.train(folder, messages.append, environment=environment)
    return messages


async def test_messages_arrive_in_order_and_noise_does_not(tmp_path: Path) -> None:
    script = "say(step=1)\nprint('noise')\nprint('[1]')\nsay(step=2)\n"
    assert await run(executor(script), tmp_path) == [{"step": 1}, {"step": 2}]


async def test_it_gets_its_share_and_no_secret(tmp_path: Path) -> None:
    script = "say(env=sorted(os.environ))\nsay(gpus=os.environ['CUDA_VISIBLE_DEVICES'])\n"
    environ = {**os.environ, "DECLOUD_PRIVATE_KEY": "k", "PINATA_JWT": "j", "HARMLESS": "1"}
    messages = await run(executor(script, environ=environ), tmp_path, CUDA_VISIBLE_DEVICES="3")
    names = messages[0]["env"]
    assert isinstance(names, list)
    assert "HARMLESS" in names
    assert not {"DECLOUD_PRIVATE_KEY", "PINATA_JWT"} & set(names)
    assert messages[1] == {"gpus": "3"}


def test_what_looks_like_a_secret_is_one() -> None:
    assert worker_environment({"A_KEY": "", "TOKEN_X": "", "x_password": "", "PATH": "/bin"}) == {"PATH": "/bin"}


async def test_its_own_word_is_the_message(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="It diverged"):
        await run(executor("say(error='It diverged.')\nsys.exit(10)\n"), tmp_path)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed, probably because memory ran out"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "killed by signal 11"),
        ("sys.exit(7)", "exit code 7"),
        ("raise RuntimeError", "exit code 1"),
    ],
)
async def test_an_end_without_a_word_is_described(tmp_path: Path, script: str, words: str) -> None:
    with pytest.raises(TrainingError, match=words) as caught:
        await run(executor(script), tmp_path)
    assert "worker.log" in str(caught.value)


async def test_a_worker_that_hangs_is_ended(tmp_path: Path) -> None:
    script = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nsay(pid=os.getpid())\ntime.sleep(600)\n"
    messages: list[Mapping[str, object]] = []
    hanging = executor(script, hang_seconds=0.2, grace=0.2)
    with pytest.raises(TrainingError, match="no progress"):
        await hanging.train(tmp_path, messages.append, environment={})
    assert not _alive(int(str(messages[0]["pid"])))


async def test_a_slow_worker_that_speaks_does_not_hang(tmp_path: Path) -> None:
    script = "for step in range(8):\n    say(step=step)\n    time.sleep(0.1)\n"
    assert len(await run(executor(script, hang_seconds=0.7), tmp_path)) == 8


async def test_what_a_killed_worker_leaves_behind_does_not_keep_us_waiting(tmp_path: Path) -> None:
    """A data loader's process inherits standard output, so its end does not come with the worker's."""
    script = (
        "import subprocess\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "say(pid=child.pid)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    messages: list[Mapping[str, object]] = []
    with pytest.raises(TrainingError, match="memory"):
        await asyncio.wait_for(executor(script).train(tmp_path, messages.append, environment={}), 30)
    # SIGKILL is under way; where nobody reaps orphans a zombie remains.
    deadline = time.monotonic() + 10
    while _alive(int(str(messages[0]["pid"]))):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_a_worker_that_is_stopped_writes_its_checkpoint(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path\n"
        "import threading\n"
        # As the real worker does: the end of its input is the end of the daemon.
        "threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()\n"
        "def stop(*_):\n"
        "    time.sleep(0.3)\n"
        "    Path(sys.argv[1], 'checkpoint').write_text('here')\n"
        "    os._exit(75)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "say(ready=True)\n"
        "time.sleep(600)\n"
    )
    ready = asyncio.Event()
    training = asyncio.create_task(
        executor(script).train(tmp_path, lambda _: ready.set(), environment={}),
    )
    await asyncio.wait_for(ready.wait(), 30)
    training.cancel()
    with pytest.raises(asyncio.CancelledError):
        await training
    assert (tmp_path / "checkpoint").read_text() == "here"


async def test_parallel_workers_do_not_hurt_each_other(tmp_path: Path) -> None:
    scripts: dict[str, tuple[str, Callable[[BaseException | None], bool]]] = {
        "good": ("time.sleep(0.5)\nsay(done=True)\n", lambda error: error is None),
        "killed": ("os.kill(os.getpid(), signal.SIGKILL)", lambda error: isinstance(error, TrainingError)),
        "memory": ("say(error='Out of memory.')\nsys.exit(10)", lambda error: isinstance(error, TrainingError)),
        "hangs": ("time.sleep(600)", lambda error: isinstance(error, TrainingError)),
    }
    runs = []
    for name, (script, _) in scripts.items():
        folder = tmp_path / name
        folder.mkdir()
        runs.append(run(executor(script, hang_seconds=3.0, grace=0.2), folder))
    results = await asyncio.gather(*runs, return_exceptions=True)
    for result, (_, expected) in zip(results, scripts.values(), strict=True):
        assert expected(result if isinstance(result, BaseException) else None)
    assert results[0] == [{"done": True}]


@pytest.mark.skipif(not Path("/proc/self/oom_score_adj").exists(), reason="Linux has this file")
async def test_the_kernel_takes_the_worker_first(tmp_path: Path) -> None:
    script = "time.sleep(0.3)\nsay(score=int(open('/proc/self/oom_score_adj').read()))\n"
    (message,) = await run(executor(script), tmp_path)
    assert json.loads(json.dumps(message)) == {"score": 500}
