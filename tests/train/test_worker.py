"""Real worker processes: the same seed gives the same bytes, however often a training was cut off."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from decloud_pl.errors import TrainingStopped
from decloud_pl.train.plan import TrainingPlan
from decloud_pl.train.run import CHECKPOINT_FILE

# A checkpoint with every batch: a worker may be killed anywhere.
COURSE = ("epochs=2", "max_batches=20", "scheduler=cosine", "trainer.checkpoint_seconds=0.000001")
HALF_WAY = 9


@contextmanager
def worker(plan: TrainingPlan, *command: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """A worker as the daemon starts it; ended with the block."""
    (plan.out / "plan.json").write_text(plan.to_json())
    process = subprocess.Popen(
        [sys.executable, *(command or ("-m", "decloud_pl.daemon.worker")), str(plan.out)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "GLOO_SOCKET_IFNAME": "lo", **environ},
        start_new_session=True,
    )
    try:
        with process:
            yield process
    finally:
        # What it started itself belongs to its session.
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def messages(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    for line in process.stdout:
        yield json.loads(line)


def run(plan: TrainingPlan, *command: str, **environ: str) -> list[dict[str, Any]]:
    """A whole run; what it said."""
    with worker(plan, *command, **environ) as process:
        said = list(messages(process))
        assert process.wait() == 0, said
    return said


def cut_off(plan: TrainingPlan, number: signal.Signals, step: int) -> int:
    """Signals a worker at a step; its exit code."""
    with worker(plan) as process:
        for message in messages(process):
            if message["stage"] == "fit" and message["step"] >= step:
                process.send_signal(number)
                break
        return process.wait()


def result(plan: TrainingPlan) -> tuple[str, bytes]:
    update = json.loads((plan.out / "update.json").read_text())
    return update["cid"], (plan.out / update["path"]).read_bytes()


def test_the_same_seed_gives_the_same_bytes_even_after_being_killed_and_stopped(
    make_plan: Callable[..., TrainingPlan],
) -> None:
    whole, broken = make_plan("whole", *COURSE), make_plan("broken", *COURSE)
    assert run(whole)[0]["stage"] == "prepare"
    assert cut_off(broken, signal.SIGKILL, HALF_WAY) == -signal.SIGKILL
    assert not (broken.out / "update.json").exists()
    assert cut_off(broken, signal.SIGTERM, 25) == TrainingStopped.exit_code
    first_steps = [message["step"] for message in run(broken) if message["stage"] == "fit"]
    assert HALF_WAY < 25 < first_steps[0] <= 40
    assert result(broken) == result(whole)


def test_a_training_that_is_over_is_not_done_again(make_plan: Callable[..., TrainingPlan]) -> None:
    plan = make_plan("out", *COURSE)
    run(plan)
    before = result(plan)
    (plan.out / "update.json").unlink()
    (plan.out / "update.pt").unlink()
    assert [message for message in run(plan) if message["stage"] == "fit" and message["step"]] == []
    assert result(plan) == before


@pytest.mark.parametrize("damage", ["truncated", "another training"])
def test_a_checkpoint_that_does_not_fit_is_not_used(damage: str, make_plan: Callable[..., TrainingPlan]) -> None:
    plan = make_plan("out", "max_batches=3")
    path = plan.out / CHECKPOINT_FILE
    if damage == "truncated":
        path.write_bytes(b"PK\x03\x04")
    else:
        torch.save({"decloud_pl": {"fingerprint": "0"}}, path)
    steps = [message["step"] for message in run(plan) if message["stage"] == "fit"]
    assert steps == [1, 2, 3]


TRAINER = """
import sys
from pathlib import Path

import torch
from lightning.pytorch import Trainer

from decloud_pl.data.digits import Digits
from decloud_pl.models.spec import ImageInput
from decloud_pl.train.callback import DeltaCallback
from decloud_pl.train.datamodule import RoundDataModule
from decloud_pl.train.delta import Encoding
from decloud_pl.train.module import RoundModule


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
# 26 batches of 49 and one of 20 in each epoch: odd ones have to be shared unevenly.
data = RoundDataModule(Digits(), ImageInput(), batch_size=49)
Trainer(
    accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto", max_epochs=2, callbacks=[delta],
    logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    limit_val_batches=0, use_distributed_sampler=False,
).fit(module, data)
"""


@pytest.mark.parametrize("launcher", ["lightning", "torchrun"])
def test_two_processes_make_the_update_of_one(launcher: str, tmp_path: Path) -> None:
    """The same batches, summed in another order: float32 entries are equal to 1e-5 of the largest."""
    script = tmp_path / "trainer.py"
    script.write_text(TRAINER)
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1", "--nproc-per-node=2")
    commands = {"one": (), "two": torchrun if launcher == "torchrun" else ()}
    for name, command in commands.items():
        subprocess.run(
            [sys.executable, *command, script, tmp_path / name, "1" if name == "one" else "2"],
            env={**os.environ, "GLOO_SOCKET_IFNAME": "lo"},
            check=True,
            capture_output=True,
            timeout=180,
        )
    one, two = (torch.load(tmp_path / name, weights_only=True) for name in commands)
    largest = max(float(entry.abs().max()) for entry in one.values())
    assert largest > 0.01
    for name, entry in one.items():
        torch.testing.assert_close(two[name], entry, rtol=0, atol=1e-5 * largest)


def test_a_worker_on_two_devices(make_plan: Callable[..., TrainingPlan]) -> None:
    plan = make_plan("out", "max_batches=20", "+trainer.strategy=ddp", "trainer.devices=2")
    said = run(plan)
    (before,) = (message["accuracy"] for message in said if message["stage"] == "baseline")
    assert said[-1]["accuracy"] > before + 0.2
    assert {message["stage"] for message in said} == {"prepare", "baseline", "fit", "evaluate", "encode", "score"}
