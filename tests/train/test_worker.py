"""Real worker processes: the same seed gives the same bytes, however often a training was cut off."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


@pytest.mark.parametrize("launcher", ["lightning", "torchrun"])
def test_two_processes_make_the_update_of_one(launcher: str, make_plan: Callable[..., TrainingPlan]) -> None:
    """Same batches, same sums in another order: float32 entries equal to 1e-5 of the largest.

    Without dropout, whose random numbers are each process's own.
    """
    # 50 of 32 and at last one of 5: uneven shares.
    course = ("optimizer=sgd", "+trainer.deterministic=true", "trainer.checkpoint_seconds=0")
    one = make_plan("one", *course, update_dtype="float32", batch_size=49)
    two = make_plan("two", *course, "+trainer.strategy=ddp", "trainer.devices=2", update_dtype="float32", batch_size=49)
    run(one)
    if launcher == "torchrun":
        command = ("-m", "torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1", "--master-port=0")
        run(two, *command, "-m", "decloud_pl.daemon.worker")
    else:
        run(two)
    entries = [torch.load(plan.out / "update.pt", weights_only=True) for plan in (one, two)]
    largest = max(float(entry.abs().max()) for entry in entries[0].values())
    for name, entry in entries[0].items():
        torch.testing.assert_close(entries[1][name], entry, rtol=0, atol=1e-5 * largest)
