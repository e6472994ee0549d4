"""Short trainings that compare learning rates. They use the first batches of the round's fit."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from decloud_pl.train.callbacks.delta import loss_of, trained_network
from decloud_pl.train.fit.setup import FitSetup, State
from decloud_pl.train.progress import Supervisor
from decloud_pl.train.tune.halving import OutOfTime, Reached

_LOOK_EVERY = 10
"""Batches between two checks of the loss. Each check waits for the GPU."""
_LEAST_STEPS, _MOST_STEPS, _MEASURE_SECONDS = 3, 20, 1.0
"""How many steps to measure, and after how many seconds fewer are enough."""


class LightningCourses:
    """Short trainings on one device, one per learning rate. Each resumes from its own checkpoint in ``folder``.

    The rate stays constant during a training, because the first batches of a schedule predict little about the whole
    schedule. ``score`` returns the accuracy (0 to 1) of a state dict on held-out data. ``end`` is the time by which all
    trainings must end, in seconds on the scale of the supervisor's ``monotonic``.
    """

    def __init__(
        self,
        setup: FitSetup,
        score: Callable[[State], float | None],
        *,
        folder: Path,
        end: float,
        supervisor: Supervisor,
    ) -> None:
        self._setup = setup.with_nodes(trainer=quick_trainer(setup.config.trainer), scheduler={})
        self._score = score
        self._folder = folder
        self._end = end
        self._supervisor = supervisor

    def go_on(self, rate: float, batches: int) -> Reached:
        """Continue the training at one rate; see `decloud_pl.train.tune.halving.Courses`.

        Raises:
            TrainingStopped: a stop was requested.
            ConfigError: the optimizer refuses its arguments.
        """
        path = self._folder / f"{rate!r}.ckpt"
        setup = self._setup.with_nodes(optimizer={**self._setup.config.optimizer, "lr": rate})
        stop = _StopAfter(batches, end=self._end, monotonic=self._supervisor.monotonic)
        checkpoint = setup.checkpoints(path, self._supervisor, every_seconds=0)
        # Each of these trainings, and then the round's fit, must start with the current random number state.
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            module = setup.module()
            setup.fit(module, [stop, checkpoint], checkpoint=path, logger=False).run()
        accuracy = self._score(trained_network(module, setup.state).state_dict()) if stop.is_complete else None
        return Reached(accuracy, stop.training_seconds)


def seconds_per_batch(setup: FitSetup, supervisor: Supervisor) -> float:
    """Run a short fit, discard its weights, and return the median duration of a step in seconds."""
    watch = _Stopwatch(supervisor)
    quick = setup.with_nodes(trainer=quick_trainer(setup.config.trainer), scheduler={})
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        quick.fit(quick.module(), [watch], logger=False).run()
    return statistics.median(watch.seconds)


def quick_trainer(trainer: Mapping[str, Any], *, max_epochs: int = -1) -> dict[str, Any]:
    """Return Trainer arguments for a fit on one device that a callback ends, without validation or output files.

    ``max_epochs`` is the length of the schedule; -1 if there is none.
    """
    # One device is enough: a batch is the same regardless of how many processes share it.
    devices = trainer.get("devices")
    return {
        **trainer,
        "devices": devices[:1] if isinstance(devices, list) else 1,
        "num_nodes": 1,
        "strategy": "auto",
        "max_epochs": max_epochs,
        "max_steps": -1,
        "min_epochs": None,
        "min_steps": None,
        "max_time": None,
        "limit_val_batches": 0,
        "num_sanity_val_steps": 0,
        "profiler": None,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }


class _Stopwatch(Callback):
    """Measures the duration of each step except the first one, and ends the fit after a few steps."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._begun = self._last = 0.0
        self.seconds: list[float] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = self._supervisor.monotonic()
        if trainer.global_step == 1:  # it is slower than the others
            self._begun = self._last = now
            return
        self.seconds.append(now - self._last)
        self._last = now
        steps = len(self.seconds)
        if steps >= _MOST_STEPS or (steps >= _LEAST_STEPS and now - self._begun >= _MEASURE_SECONDS):
            trainer.should_stop = True
        self._supervisor.check_stop()


class _StopAfter(Callback):
    """Ends a fit after a number of batches, or when it diverges. Raises `OutOfTime` if ``end`` comes first."""

    def __init__(self, batches: int, *, end: float, monotonic: Callable[[], float]) -> None:
        self._batches = batches
        self._end = end
        self._monotonic = monotonic
        self._begun = 0.0
        self.is_complete = False
        self.training_seconds = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begun = self._monotonic()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: torch.Tensor | dict[str, object] | None,  # type: ignore[override]  # as Lightning's own callbacks
        batch: object,
        batch_idx: int,
    ) -> None:
        step = trainer.global_step
        over = step >= self._batches
        if over or step % _LOOK_EVERY == 0:
            loss = loss_of(outputs)
            if loss is not None and not math.isfinite(loss):
                trainer.should_stop = True
                return
        now = self._monotonic()
        if over:
            self.training_seconds = now - self._begun
            self.is_complete = True
            trainer.should_stop = True
        elif now >= self._end:
            raise OutOfTime
