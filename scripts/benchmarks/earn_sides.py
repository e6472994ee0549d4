"""The two sides of a round: our whole training as a worker runs it, and the usual loop."""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import our_fit
import psutil
import torch
from usual_loop import BATCH, UsualLoop

from decloud_pl.build import build
from decloud_pl.data.source import Source
from decloud_pl.localnet.agents.oracle import Oracle, Samples
from decloud_pl.models.registry import build as build_network
from decloud_pl.models.spec import ImageInput, ModelSpec
from decloud_pl.train.fit.trainer import quiet as quiet_trainer
from decloud_pl.train.progress import Progress, Supervisor
from decloud_pl.train.run import train_round

_CHUNK = 10
"""Steps of the rival between two looks at the clock."""
COMPETE = "budget=compete"
_SPEC = ModelSpec("simple_cnn", {"num_classes": 10})
State = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Course:
    """One run.

    Attributes:
        side: ``ours``, ``rival``, or ``epoch`` for the rival's first epoch.
        base: the base model's name in percent.
        seconds: of the round.
        seed: of both sides.
        overrides: of our settings; empty for a training that uses the whole time.
    """

    side: str
    base: int
    seconds: float
    seed: int
    overrides: tuple[str, ...] = ()

    def key(self) -> str:
        return " ".join([self.side, str(self.base), f"{self.seconds:g}", str(self.seed), *self.overrides])


class Clock:
    """Seconds since the start, of wall time or of the CPU time of this process and its children, without pauses."""

    def __init__(self, *, kind: str) -> None:
        self._read: Callable[[], float] = time.monotonic if kind == "wall" else cpu_seconds
        self._paused = 0.0
        self._begun = self._read()

    def __call__(self) -> float:
        return self._read() - self._begun - self._paused

    def uncounted(self, action: Callable[[], float]) -> float:
        """Return the action's result; its time does not count."""
        before = self._read()
        found = action()
        self._paused += self._read() - before
        return found


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its children, also of those that still run."""
    own = sum(os.times()[:4])
    running = 0.0
    for child in psutil.Process().children():
        try:
            times = child.cpu_times()
            running += times.user + times.system
        except psutil.Error:
            continue  # it has just ended
    return own + running


def quiet() -> None:
    quiet_trainer()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")


class Sides:
    """Runs courses. ``bases`` has the steps of the usual loop that make each base model."""

    def __init__(self, folder: Path, bases: Mapping[int, int], *, clock: str, threads: int) -> None:
        self._folder = folder
        self._bases = bases
        self._clock = clock
        self._threads = threads
        self._source: Source = build(our_fit.fashion_mnist_node())
        parts: list[Any] = [self._source.load("train"), self._source.load("held_out")]
        # The rival trains on the whole published training split.
        self._images = np.concatenate([part.images for part in parts])
        self._labels = np.concatenate([part.labels for part in parts])
        self._test = Samples.of(self._source.load("test"), ImageInput())
        torch.set_num_threads(threads)

    def run(self, course: Course) -> dict[str, Any]:
        """Run one course and return its result."""
        load, began, wall = os.getloadavg()[0], cpu_seconds(), time.monotonic()
        found = self._ours(course) if course.side == "ours" else self._rival(course)
        measured = {
            "cpu_seconds": round(cpu_seconds() - began, 1),
            "wall_seconds": round(time.monotonic() - wall, 1),
            "load": load,
        }
        return {**dataclasses.asdict(course), "clock": self._clock, "threads": self._threads, **measured, **found}

    def base_accuracy(self, base: int) -> float:
        return round(100 * Oracle(_SPEC, self._base(base), self._test).baseline() / len(self._test.labels), 2)

    def _ours(self, course: Course) -> dict[str, Any]:
        folder = self._folder / "round"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        base = self._base(course.base)
        torch.save(base, folder / "base.pt")
        # Full precision, like the rival, unless the machine has faster instructions.
        overrides = course.overrides or (COMPETE,)
        plan = our_fit.plan(folder, *overrides, seed=course.seed, threads=self._threads, limited=False)
        plan = dataclasses.replace(plan, round=dataclasses.replace(plan.round, finish_by=course.seconds))
        notes: list[str] = []

        def report(progress: Progress) -> None:
            if progress.stage == "probe" and progress.note:
                notes.append(progress.note)

        clock = Clock(kind=self._clock)
        update = train_round(plan, Supervisor(report, monotonic=clock), now=0.0)
        seconds = clock()
        if update is None:
            raise RuntimeError("The training has no update.")
        entries = torch.load(update.path, weights_only=True)
        hits = Oracle(_SPEC, base, self._test).with_submission(entries, "delta", 0.1)
        accuracy = round(100 * hits / len(self._test.labels), 2)
        return {
            "accuracy": accuracy,
            "seconds": round(seconds, 1),
            "note": " ".join(notes),
            "withheld": update.withheld,
        }

    def _rival(self, course: Course) -> dict[str, Any]:
        torch.manual_seed(course.seed)
        network = build_network(_SPEC.architecture, _SPEC.hyper_parameters)
        network.load_state_dict(self._base(course.base))
        clock = Clock(kind=self._clock)
        loop = UsualLoop(network, self._images, self._labels, seed=course.seed, rate=0.001)
        curve: list[list[float]] = []
        steps = 0
        most = loop.steps_per_epoch if course.side == "epoch" else None
        while clock() < course.seconds if most is None else steps < most:
            to_go = loop.steps_per_epoch - steps % loop.steps_per_epoch
            taken = min(_CHUNK, to_go)
            loop.train(taken)
            steps += taken
            if taken == to_go:
                reached = round(clock(), 1)
                curve.append([reached, clock.uncounted(lambda: self._accuracy(network))])
        seconds = curve[-1][0] if most is not None else round(clock(), 1)
        accuracy = self._accuracy(network)
        epochs = round(steps * BATCH / len(self._labels), 2)
        return {"accuracy": accuracy, "seconds": seconds, "epochs": epochs, "curve": curve, "note": ""}

    def _accuracy(self, network: torch.nn.Module) -> float:
        state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        return round(100 * Oracle(_SPEC, state, self._test).baseline() / len(self._test.labels), 2)

    def _base(self, name: int) -> dict[str, torch.Tensor]:
        """Return a base model's weights, and make it if it does not exist yet."""
        path = self._folder / f"base-{name}.pt"
        if not path.is_file():
            torch.manual_seed(1000)
            network = build_network(_SPEC.architecture, _SPEC.hyper_parameters)
            if self._bases[name]:
                UsualLoop(network, self._images, self._labels, seed=1000, rate=0.001).train(self._bases[name])
            torch.save(network.state_dict(), path)
        found: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
        return found
