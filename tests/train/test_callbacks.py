"""Trainings end in time, submit their best weights, and spend a bounded share of their time on checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import nn

from decloud_pl.data.formats.digits import Digits
from decloud_pl.errors import TrainingStopped
from decloud_pl.models.inputs import ImageInput
from decloud_pl.train.callbacks.average import AverageWeights
from decloud_pl.train.callbacks.best import BestWeights
from decloud_pl.train.callbacks.delta import ProgressCallback
from decloud_pl.train.fit.baseline import BaselineCallback
from decloud_pl.train.fit.checkpoints import CheckpointCallback
from decloud_pl.train.fit.datamodule import RoundDataModule
from decloud_pl.train.fit.deadline import DeadlineCallback
from decloud_pl.train.fit.module import RoundModule
from decloud_pl.train.progress import Progress

STEPS = 5


class Clock:
    """Advances by a second with every batch."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


class Tick(Callback):
    def __init__(self, clock: Clock, seconds: float = 1) -> None:
        self._clock = clock
        self._seconds = seconds

    def on_train_batch_start(self, *arguments: Any) -> None:
        self._clock.time += self._seconds


def fit(
    tmp_path: Path,
    callbacks: list[Callback],
    *,
    epochs: int = 3,
    checkpoint: Path | None = None,
    validates: bool = False,
    **options: Any,
) -> Trainer:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    module = RoundModule(network, num_classes=10, optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.01))
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=1.0 if validates else 0,
        num_sanity_val_steps=0,
        default_root_dir=tmp_path,
        **{"limit_train_batches": STEPS, **options},
    )
    trainer.fit(module, RoundDataModule(Digits(), ImageInput(), batch_size=64), ckpt_path=checkpoint)
    return trainer


@pytest.mark.parametrize(("seconds", "steps"), [(7.5, 7), (5, 5), (1, 1), (100, 15)])
def test_a_fit_ends_at_the_last_batch_before_the_deadline(seconds: float, steps: int, tmp_path: Path) -> None:
    clock, stopped = Clock(), []
    deadline = DeadlineCallback(100 + seconds, monotonic=clock, on_stop=lambda trainer: stopped.append(True))
    trainer = fit(tmp_path, [Tick(clock), deadline])
    assert trainer.global_step == steps
    assert deadline.stopped is (steps < 15) is bool(stopped)
    assert clock.time <= 100 + seconds


def test_out_of_time_with_a_checkpoint_hands_in_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "training.ckpt"
    fit(tmp_path, [CheckpointCallback(path, fingerprint="x")], epochs=1)
    clock = Clock()
    best = BestWeights(score=lambda state: 0.5)
    trainer = fit(tmp_path, [DeadlineCallback(99, monotonic=clock), best], checkpoint=path)
    assert trainer.global_step == STEPS
    # No validation saw these weights, so they are scored on demand.
    assert best.accuracy is None
    assert best.weights(trainer.lightning_module).keys() == trainer.lightning_module.state_dict().keys()
    assert best.accuracy == 0.5


def test_the_base_model_is_scored_once_behind_the_first_step_and_its_time_is_reserved(tmp_path: Path) -> None:
    clock, heard = Clock(), []
    deadline = DeadlineCallback(112.5, monotonic=clock)

    def score() -> float:
        clock.time += 4
        return 0.1

    def on_scored(trainer: Trainer, accuracy: float | None, seconds: float) -> None:
        heard.append((trainer.global_step, accuracy, seconds))
        deadline.reserve(seconds)

    baseline = BaselineCallback(score, on_scored=on_scored, monotonic=clock)
    trainer = fit(tmp_path, [Tick(clock), deadline, baseline])
    assert heard == [(1, 0.1, 4.0)]
    assert baseline.seconds == 4
    # A step takes 1 s, scoring takes 4 s, and then three more steps fit. Scoring is not measured as a slow step.
    assert (trainer.global_step, clock.time) == (4, 108)


def test_the_time_for_reading_the_samples_is_not_that_of_a_scoring(tmp_path: Path) -> None:
    """They are read once, but the reserve is a multiple of the time of a scoring."""
    clock, heard = Clock(), []

    def load() -> None:
        clock.time += 30

    def score() -> float:
        clock.time += 4
        return 0.1

    baseline = BaselineCallback(score, on_scored=lambda *scored: heard.append(scored[2]), load=load, monotonic=clock)
    fit(tmp_path, [baseline])
    assert (heard, baseline.seconds) == ([4.0], 4.0)


def test_a_fit_that_was_over_still_has_its_base_model_scored(tmp_path: Path) -> None:
    path, heard = tmp_path / "training.ckpt", []
    fit(tmp_path, [CheckpointCallback(path, fingerprint="x")], epochs=1)
    baseline = BaselineCallback(lambda: 0.1, on_scored=lambda *scored: heard.append(scored[1]))
    fit(tmp_path, [baseline], epochs=1, checkpoint=path)
    assert heard == [0.1]


class Scripted(Callback):
    """Logs a given accuracy at each validation, and keeps the validated weights."""

    def __init__(self, accuracies: list[float]) -> None:
        self._accuracies = accuracies
        self.seen: list[torch.Tensor] = []

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seen.append(pl_module.state_dict()["network.1.weight"].clone())
        pl_module.log("val/accuracy", self._accuracies[len(self.seen) - 1])


def test_the_best_of_all_epochs_is_kept(tmp_path: Path) -> None:
    heard: list[float] = []
    scripted, best = Scripted([0.25, 0.875, 0.5]), BestWeights(report=heard.append)
    trainer = fit(tmp_path, [scripted, best], validates=True)
    assert heard == [0.25, 0.875, 0.5]
    assert best.accuracy == 0.875
    assert torch.equal(best.weights(trainer.lightning_module)["network.1.weight"], scripted.seen[1])


def test_validation_data_that_the_verdict_is_by_too_does_not_choose(tmp_path: Path) -> None:
    scores = iter([0.75, 0.5, 0.25])
    scripted = Scripted([0.25, 0.5, 0.75])
    best = BestWeights(score=lambda _: next(scores), by_score=True)
    trainer = fit(tmp_path, [scripted, best], validates=True)
    assert torch.equal(best.weights(trainer.lightning_module)["network.1.weight"], scripted.seen[0])
    assert best.accuracy == 0.75


def test_the_accuracy_is_what_the_module_logs_of_the_validation(tmp_path: Path) -> None:
    heard: list[float] = []
    best = BestWeights(report=heard.append)
    trainer = fit(tmp_path, [best], epochs=1, validates=True)
    half = Digits().load("held_out")
    assert (heard[0] * (len(half) // 2)) % 1 == pytest.approx(0, abs=1e-4)
    assert heard == [best.accuracy] == [float(trainer.callback_metrics["val/accuracy"])]


def test_weights_that_no_validation_saw_are_scored_and_taken_where_they_are_better(tmp_path: Path) -> None:
    """A callback may change the network at the end of the fit, and a fit may end between two validations."""
    best = BestWeights(score=lambda state: float(state["network.1.bias"].mean()))
    scripted = Scripted([0.5])
    module: Any = fit(tmp_path, [scripted, best], epochs=1, validates=True).lightning_module
    with torch.no_grad():
        module.network[1].bias.fill_(0.25)
    assert torch.equal(best.weights(module)["network.1.weight"], scripted.seen[0])
    assert best.accuracy == 0.5
    with torch.no_grad():
        module.network[1].bias.fill_(0.75)
    assert torch.equal(best.weights(module)["network.1.bias"], torch.full((10,), 0.75))
    assert best.accuracy == 0.75


class Snapshots(Callback):
    """Keeps the weights after every step."""

    def __init__(self) -> None:
        self.taken: dict[int, torch.Tensor] = {}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *arguments: Any) -> None:
        self.taken[trainer.global_step] = pl_module.state_dict()["network.1.weight"].clone()


def test_the_average_is_over_the_last_steps_even_of_a_fit_that_was_interrupted(tmp_path: Path) -> None:
    whole, snapshots = AverageWeights(share=0.6, snapshots=4), Snapshots()
    trainer = fit(tmp_path, [whole, snapshots])
    # Every second one of the last 9 of 15 steps, including the last.
    expected = torch.stack([snapshots.taken[step] for step in (7, 9, 11, 13, 15)]).mean(0)
    average = whole.weights(trainer.lightning_module)["network.1.weight"]
    assert whole.count == 5
    torch.testing.assert_close(average, expected)

    clock, path = Clock(), tmp_path / "training.ckpt"
    cut = [Tick(clock), AverageWeights(share=0.6, snapshots=4), DeadlineCallback(110, monotonic=clock)]
    fit(tmp_path, [*cut, CheckpointCallback(path, fingerprint="x")])
    resumed = AverageWeights(share=0.6, snapshots=4)
    trainer = fit(tmp_path, [resumed, CheckpointCallback(path, fingerprint="x")], checkpoint=path)
    assert resumed.count == 5
    assert torch.equal(resumed.weights(trainer.lightning_module)["network.1.weight"], average)


def test_the_average_is_over_the_last_part_of_the_time_if_that_ends_first(tmp_path: Path) -> None:
    clock = Clock()
    deadline = DeadlineCallback(999.0, monotonic=clock, planned_seconds=8.5)
    average, snapshots = AverageWeights(share=0.4, snapshots=6, passed=deadline.share), Snapshots()
    trainer = fit(tmp_path, [Tick(clock), deadline, average, snapshots])
    assert trainer.global_step == 8  # of 15; the last six of them would begin later
    expected = torch.stack([snapshots.taken[step] for step in (6, 7, 8)]).mean(0)
    torch.testing.assert_close(average.weights(trainer.lightning_module)["network.1.weight"], expected)


def test_a_slow_training_reports_its_first_step_and_then_one_every_thirty_seconds(tmp_path: Path) -> None:
    """Also after a resume. Without reports, it would count as hung."""
    clock, path = Clock(), tmp_path / "training.ckpt"

    def reported(seconds: float, **options: Any) -> list[int]:
        told: list[Progress] = []
        callbacks = [
            Tick(clock, 10),
            DeadlineCallback(clock.time + seconds, monotonic=clock),
            ProgressCallback(told.append, monotonic=clock),
            CheckpointCallback(path, fingerprint="x", every_seconds=0),
        ]
        fit(tmp_path, callbacks, epochs=4000, **options)
        return [one.step for one in told]

    assert reported(125) == [1, 4, 7, 10]
    assert reported(95, checkpoint=path) == [13, 16, 19]
    assert reported(95, accumulate_grad_batches=STEPS, checkpoint=path) == [22, 23]


class Slow(CheckpointCallback):
    """Spends a second of the clock on each checkpoint."""

    clock: Clock
    written: list[int]

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        self.clock.time += 1
        self.written.append(trainer.global_step)


@pytest.mark.parametrize(("every", "written"), [(2.0, [2, 15]), (0.0, [5, 15])])
def test_checkpoints_take_a_bounded_share_of_the_time(every: float, written: list[int], tmp_path: Path) -> None:
    clock = Clock()
    callback = Slow(tmp_path / "c", fingerprint="x", every_seconds=every, monotonic=clock)
    callback.clock, callback.written = clock, []
    fit(tmp_path, [Tick(clock), callback])
    # A checkpoint takes 1 s, so the next is due 50 s later. The checkpoint of the last epoch is always written.
    assert callback.written == written


class OneOfTwo(SingleDeviceStrategy):
    """Runs the first of two processes; the other one agrees to everything."""

    def __init__(self) -> None:
        super().__init__()
        self.world_size = 2


@pytest.mark.parametrize(
    ("accumulates", "looks"), [(1, [1, 11]), (2, [1, 6]), (4, [1, 4]), (5, [1, 3]), (8, [1]), (10, [1])]
)
def test_several_processes_write_checkpoints_and_stop_inside_an_epoch(
    accumulates: int, looks: list[int], tmp_path: Path
) -> None:
    clock, steps = Clock(), [0]

    class Count(Callback):
        def on_train_batch_end(self, trainer: Trainer, *arguments: Any) -> None:
            steps.append(trainer.global_step)

    def train(every: float, stop_requested: Callable[[], bool], deadline: float = 1e9) -> list[int]:
        callback = Slow(
            tmp_path / "c", fingerprint="x", every_seconds=every, monotonic=clock, stop_requested=stop_requested
        )
        callback.clock, callback.written = clock, []
        callbacks = [Tick(clock), Count(), DeadlineCallback(deadline, monotonic=clock), callback]
        options: dict[str, Any] = {
            "accumulate_grad_batches": accumulates,
            "limit_train_batches": 20,
            "strategy": OneOfTwo(),
        }
        fit(tmp_path, callbacks, epochs=1, **options)
        return callback.written

    assert train(0.5, lambda: False)[0] == looks[0]
    steps[:] = [0]
    with pytest.raises(TrainingStopped):
        train(0.0, lambda: steps[-1] >= looks[-1])
    assert steps[-1] == looks[-1]
    # The deadline ends the fit at a batch after which a checkpoint is written.
    assert train(0.0, lambda: False, clock.time + 12)[0] in looks


def test_several_processes_heed_the_deadline_in_epochs_shorter_than_a_step(tmp_path: Path) -> None:
    clock = Clock()
    deadline = DeadlineCallback(clock.time + 40, monotonic=clock)
    options: dict[str, Any] = {"accumulate_grad_batches": 16, "limit_train_batches": 12, "strategy": OneOfTwo()}
    trainer = fit(tmp_path, [Tick(clock), deadline], epochs=10, **options)
    assert deadline.stopped
    assert trainer.current_epoch < 4


def test_a_complete_fit_has_only_the_rest_of_its_planned_seconds(tmp_path: Path) -> None:
    path, clock = tmp_path / "training.ckpt", Clock()
    first = DeadlineCallback(1e9, monotonic=clock, planned_seconds=100.0)
    fit(tmp_path, [Tick(clock), first, CheckpointCallback(path, fingerprint="x")], epochs=1)
    left = first.planned_seconds_left()
    again = DeadlineCallback(1e9, monotonic=clock, planned_seconds=100.0)
    fit(tmp_path, [again], epochs=1, checkpoint=path)
    assert left is not None
    assert 0 < left < 99
    assert again.planned_seconds_left() == pytest.approx(left, abs=1.5)
