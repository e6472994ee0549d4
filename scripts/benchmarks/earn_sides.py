"""The two sides of a round: our whole training as a worker runs it, and the usual loop. And the round of both."""

from __future__ import annotations

import dataclasses
import logging
import multiprocessing
import os
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import earn_round
import our_fit
import psutil
import torch
from earn_tasks import PAIRED, TASKS, Task
from usual_loop import BATCH, UsualLoop

from decloud_pl.localnet.agents.oracle import Oracle, Samples
from decloud_pl.train.fit.trainer import quiet as quiet_trainer
from decloud_pl.train.progress import Progress, Supervisor
from decloud_pl.train.run import train_round

_CHUNK = 10
"""Steps of the rival between two looks at the clock."""
COMPETE = "budget=compete"
_BASE_SEED = 1000
State = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Course:
    """One run.

    Attributes:
        side: ``ours``, ``rival``, ``epoch`` for the rival's first epoch, or ``round`` for a round of a local network in
            which the two sides' finished updates compete.
        base: the base model's name in percent.
        seconds: of the round.
        seed: of both sides.
        overrides: of our settings; empty for a training that uses the whole time.
        task: the name of a data set and a neural network.
    """

    side: str
    base: int
    seconds: float
    seed: int
    overrides: tuple[str, ...] = ()
    task: str = PAIRED.name

    def key(self) -> str:
        task = [] if self.task == PAIRED.name else [self.task]
        return " ".join([self.side, *task, str(self.base), f"{self.seconds:g}", str(self.seed), *self.overrides])


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


@dataclass(frozen=True)
class Sides:
    """Runs courses. ``bases`` has the steps of the usual loop that make each base model."""

    folder: Path
    bases: Mapping[int, int]
    clock: str
    threads: int

    def run(self, course: Course) -> dict[str, Any]:
        """Run one course in a process of its own and return its result. So our allocator does not serve the rival."""
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            return process.submit(self._run, course).result()

    def _run(self, course: Course) -> dict[str, Any]:
        quiet()
        torch.set_num_threads(self.threads)
        TASKS[course.task].load(self.folder)  # before the clock starts
        load, began, wall = os.getloadavg()[0], cpu_seconds(), time.monotonic()
        run = {"ours": self._ours, "rival": self._rival, "epoch": self._rival, "round": self._round}[course.side]
        found = run(course)
        measured = {
            "cpu_seconds": round(cpu_seconds() - began, 1),
            "wall_seconds": round(time.monotonic() - wall, 1),
            "load": load,
        }
        return {**dataclasses.asdict(course), "clock": self.clock, "threads": self.threads, **measured, **found}

    def base_accuracy(self, base: int) -> float:
        return self._accuracy(PAIRED, self._base(PAIRED, base))

    def _ours(self, course: Course) -> dict[str, Any]:
        folder = self.folder / "round"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        task = TASKS[course.task]
        base = self._base(task, course.base)
        file = task.save(base, folder)
        # Full precision, like the rival, unless the machine has faster instructions.
        overrides = course.overrides or (COMPETE,)
        node = task.node(self.folder)
        plan = our_fit.plan(file, *overrides, dataset=node, seed=course.seed, threads=self.threads, limited=False)
        plan = dataclasses.replace(plan, round=dataclasses.replace(plan.round, finish_by=course.seconds))
        notes: list[str] = []

        def report(progress: Progress) -> None:
            if progress.stage == "probe" and progress.note:
                notes.append(progress.note)

        clock = Clock(kind=self.clock)
        update = train_round(plan, Supervisor(report, monotonic=clock), now=0.0)
        seconds = clock()
        if update is None:
            raise RuntimeError("The training has no update.")
        shutil.copyfile(update.path, self._update(course))
        entries = torch.load(update.path, weights_only=True)
        test = task.test(self.folder)
        hits = Oracle(task.spec, base, test).with_submission(entries, "delta", 0.1)
        return {
            "accuracy": _percent(hits, test),
            "seconds": round(seconds, 1),
            "note": " ".join(notes),
            "withheld": update.withheld,
        }

    def _rival(self, course: Course) -> dict[str, Any]:
        task = TASKS[course.task]
        base = self._base(task, course.base)
        network = task.network(course.seed)
        network.load_state_dict(base)
        clock = Clock(kind=self.clock)
        images, labels = task.images(self.folder)
        loop = UsualLoop(network, images, labels, seed=course.seed, rate=0.001)
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
                curve.append([reached, clock.uncounted(lambda: self._accuracy(task, network.state_dict()))])
        seconds = curve[-1][0] if most is not None else round(clock(), 1)
        accuracy = self._accuracy(task, network.state_dict())
        delta = {name: tensor.detach() - base[name] for name, tensor in network.state_dict().items()}
        torch.save(delta, self._update(course))
        epochs = round(steps * BATCH / len(labels), 2)
        return {"accuracy": accuracy, "seconds": seconds, "epochs": epochs, "curve": curve, "note": ""}

    def _round(self, course: Course) -> dict[str, Any]:
        task = TASKS[course.task]
        self._base(task, course.base)
        updates = {side: self._update(dataclasses.replace(course, side=side)) for side in ("ours", "rival")}
        return {"shares": earn_round.shares(self._base_file(task, course.base), updates, dataset=task.dataset)}

    def _update(self, course: Course) -> Path:
        """Return the path of a course's update, which adds to the base model."""
        return self.folder / f"{course.key().replace(' ', '-').replace('/', '-')}.pt"

    def _base_file(self, task: Task, name: int) -> Path:
        mark = "" if task == PAIRED else f"{task.name}-"
        return self.folder / f"base-{mark}{name}.pt"

    def _base(self, task: Task, name: int) -> dict[str, torch.Tensor]:
        """Return a base model's weights, and make it if it does not exist yet."""
        path = self._base_file(task, name)
        if not path.is_file():
            network = task.network(_BASE_SEED)
            if self.bases[name]:
                UsualLoop(network, *task.images(self.folder), seed=_BASE_SEED, rate=0.001).train(self.bases[name])
            torch.save(network.state_dict(), path)
        found: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
        return found

    def _accuracy(self, task: Task, state: State) -> float:
        copy = {name: tensor.detach().clone() for name, tensor in state.items()}
        test = task.test(self.folder)
        return _percent(Oracle(task.spec, copy, test).baseline(), test)


def _percent(hits: int, test: Samples) -> float:
    return round(100 * hits / len(test.labels), 2)
