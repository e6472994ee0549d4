"""Real worker processes: the same seed gives the same bytes, no matter how often the training was interrupted."""

from __future__ import annotations

import fcntl
import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from decloud_pl.domain import Update
from decloud_pl.errors import TrainingStopped
from decloud_pl.executors.update_file import read_update
from decloud_pl.train.fit.checkpoints import usable
from decloud_pl.train.plan import CHECKPOINT_FILE, TrainingPlan
from decloud_pl.train.progress import Progress, Supervisor
from decloud_pl.train.run import train_round
from tests.harness.ports import free_port

# A checkpoint after the first batch and as often as possible then, because a worker may be killed at any time. Its
# messages are about a hundred steps ahead of what the test has read.
OFTEN = "fit.checkpoint_seconds=0.000001"
COURSE = ("epochs=10", "max_batches=30", "scheduler=cosine", OFTEN)
HALF_WAY = 9


@contextmanager
def worker(plan: TrainingPlan) -> Iterator[subprocess.Popen[str]]:
    """Start a worker like the daemon does. It ends with the block."""
    plan.write(plan.round.folder)
    process = subprocess.Popen(
        [sys.executable, "-m", "decloud_pl.executors.worker", str(plan.round.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "GLOO_SOCKET_IFNAME": "lo"},
        start_new_session=True,
    )
    try:
        with process:
            yield process
    finally:
        # The worker's children are in its session.
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def messages(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    for line in process.stdout:
        yield json.loads(line)


def run(plan: TrainingPlan) -> list[dict[str, Any]]:
    """Run a worker to its end and return its messages."""
    with worker(plan) as process:
        said = list(messages(process))
        assert process.wait() == 0, said
    return said


def cut_off(plan: TrainingPlan, number: signal.Signals, step: int, *, stage: str = "fit") -> tuple[int, Update | None]:
    """Send a worker a signal at a step of a stage. Return its exit code, and the update on record at that step."""
    with worker(plan) as process:
        assert process.stdout is not None
        # The worker waits where it cannot write, so on a busy machine it does not end before the signal either.
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
        for message in messages(process):
            if message["stage"] == stage and message["step"] >= step:
                break
        update = read_update(plan.round.folder / "update.json")
        process.send_signal(number)
        process.stdout.read()
        return process.wait(), update


def train(plan: TrainingPlan, *, stage: str = "fit") -> tuple[list[int], str, bytes]:
    """Train the same plan in this process; return the steps of a stage, and the update's CID and bytes."""
    heard: list[Progress] = []
    update = train_round(plan, Supervisor(heard.append))
    assert update is not None
    steps = [progress.step for progress in heard if progress.stage == stage and progress.step]
    return steps, update.cid, update.path.read_bytes()


def test_the_same_seed_gives_the_same_bytes_even_after_being_killed_and_stopped(
    make_plan: Callable[..., TrainingPlan],
) -> None:
    whole, broken = make_plan("whole", *COURSE), make_plan("broken", *COURSE)
    steps, *expected = train(whole)
    assert (steps[0], steps[-1]) == (1, 300)
    assert cut_off(broken, signal.SIGKILL, HALF_WAY)[0] == -signal.SIGKILL
    assert cut_off(broken, signal.SIGTERM, 25)[0] == TrainingStopped.exit_code
    assert not (broken.round.folder / "update.json").exists()
    steps, *got = train(broken)
    assert HALF_WAY < 25 < steps[0] <= 300
    assert got == expected
    # A complete training is not repeated.
    (broken.round.folder / "update.pt").unlink()
    steps, *got = train(broken)
    assert steps == []
    assert got == expected


def test_a_worker_that_is_stopped_in_another_training_continues_it(make_plan: Callable[..., TrainingPlan]) -> None:
    """If it is killed there, the daemon has the update of the first training."""
    plan = make_plan("out", "batch_size=4", "learning_rate=0.1", "update.candidates=[lower_rate]", OFTEN)
    code, first = cut_off(plan, signal.SIGTERM, HALF_WAY, stage="choose")
    assert code == TrainingStopped.exit_code
    assert first is not None
    assert not (plan.round.folder / "update.json").exists()
    steps, cid, _ = train(plan, stage="choose")
    assert steps[0] > HALF_WAY
    assert cid != first.cid


@pytest.mark.parametrize("damage", ["truncated", "another training", "absent"])
def test_a_checkpoint_that_does_not_fit_is_not_used(damage: str, tmp_path: Path) -> None:
    path = tmp_path / CHECKPOINT_FILE
    if damage == "truncated":
        path.write_bytes(b"PK\x03\x04")
    elif damage == "another training":
        torch.save({"decloud_pl": {"fingerprint": "0"}}, path)
    assert usable(path, "1") is None
    torch.save({"decloud_pl": {"fingerprint": "1"}}, path)
    assert usable(path, "1") == path


TRAINER = """
import sys
from pathlib import Path

import torch
from lightning.pytorch import Trainer

from decloud_pl.data.formats.digits import Digits
from decloud_pl.models.inputs import ImageInput
from decloud_pl.train.callbacks.delta import DeltaCallback
from decloud_pl.train.fit.datamodule import RoundDataModule
from decloud_pl.domain import Encoding
from decloud_pl.train.fit.module import RoundModule


class Publisher:
    def publish(self, update):
        print(update.cid)


path, devices = Path(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(1)
torch.manual_seed(0)
network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 16), torch.nn.ReLU(), torch.nn.Linear(16, 10))
module = RoundModule(network, num_classes=10, optimizer=lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9))
delta = DeltaCallback(
    network.state_dict(), Publisher(), path=path, network_of=lambda _: network, encoding=Encoding("float32")
)
# Each epoch has 26 batches of 49 and one of 20. Odd sizes must be shared unevenly.
data = RoundDataModule(Digits(), ImageInput(), batch_size=49)
Trainer(
    accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto", max_epochs=2, callbacks=[delta],
    logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    limit_val_batches=0, use_distributed_sampler=False,
).fit(module, data)
"""


def torchrun(rank: int, port: int) -> dict[str, str]:
    """The variables that torchrun sets (https://docs.pytorch.org/docs/stable/elastic/run.html)."""
    return {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0", "ROLE_RANK": str(rank),
        "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "ROLE_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "test", "TORCHELASTIC_RESTART_COUNT": "0", "TORCHELASTIC_MAX_RESTARTS": "0",
    }  # fmt: skip


def test_two_processes_make_the_update_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same batches are summed in another order, so float32 entries agree to 1e-5 of the largest."""
    script = tmp_path / "trainer.py"
    script.write_text(TRAINER)
    port = free_port()
    ranks = [
        subprocess.Popen(
            [sys.executable, script, tmp_path / "two", "2"],
            env={**os.environ, "GLOO_SOCKET_IFNAME": "lo", **torchrun(rank, port)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for rank in range(2)
    ]
    try:
        monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path / "one"), "1"])
        runpy.run_path(str(script))
        assert [rank.wait(timeout=180) for rank in ranks] == [0, 0]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    one, two = (torch.load(tmp_path / name, weights_only=True) for name in ("one", "two"))
    largest = max(float(entry.abs().max()) for entry in one.values())
    assert largest > 0.01
    for name, entry in one.items():
        torch.testing.assert_close(two[name], entry, rtol=0, atol=1e-5 * largest)


def test_a_worker_on_two_devices(make_plan: Callable[..., TrainingPlan]) -> None:
    """The first process runs the probe for both."""
    probe = ("tune=probe", "tune.rates=[10]", "tune.batches=10", "tune.most_epochs=0")
    devices = ("trainer.strategy=ddp", "trainer.devices=2")
    plan = make_plan("out", "max_batches=20", "learning_rate=0.0001", *devices, *probe)
    said = run(plan)
    (note,) = (message["note"] for message in said if message["stage"] == "probe" and message["note"])
    assert note.startswith("Probe: learning rate 0.001 instead of 0.0001: +")
    (before,) = (message["accuracy"] for message in said if message["stage"] == "baseline")
    assert said[-1]["accuracy"] > before + 0.2
    assert {message["stage"] for message in said} == {
        "prepare",
        "probe",
        "baseline",
        "fit",
        "evaluate",
        "choose",
        "encode",
        "score",
    }
