"""Probes before a training where its plan asks for it, once, and puts the choice into the plan."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import ParallelStrategy
from torch import nn

from decloud_pl.build import build
from decloud_pl.train import probe
from decloud_pl.train.checkpoint import replace_durably
from decloud_pl.train.course import LightningCourses
from decloud_pl.train.datamodule import RoundDataModule
from decloud_pl.train.plan import Progress, TrainingPlan

_SCRATCH = "probe"


def tuned(
    plan: TrainingPlan,
    trainer: Mapping[str, Any],
    network: nn.Module,
    base: Mapping[str, torch.Tensor],
    *,
    num_classes: int,
    data: RoundDataModule,
    score: Callable[[nn.Module], float],
    finish_at: float | None,
    stop_requested: Callable[[], bool],
    monotonic: Callable[[], float],
    on_progress: Callable[[Progress], None],
) -> TrainingPlan:
    """The plan with the learning rate and the epochs that a probe chose, now or before an interruption.

    Where Lightning starts further processes on this machine, the first one probes before it starts them, and they read
    what it chose. Processes that torchrun or SLURM started, and those of several machines, keep what is configured.

    Args:
        plan: the training.
        trainer: the node of its Lightning ``Trainer``.
        network: to probe in; it leaves with the base weights.
        base: the base model's state dict.
        num_classes: of the data set.
        data: of the round.
        score: accuracy of a network on held-out data that chooses, 0 to 1.
        finish_at: when the update must be on disk, on the scale of ``monotonic``; None for no deadline.
        stop_requested: whether the training was asked to stop.
        monotonic: the time in seconds.
        on_progress: told what the probe bought.

    Raises:
        TrainingStopped: the training was asked to stop.
        ConfigError: a node that cannot be built.
    """
    options, path = plan.probe, plan.out / probe.PROBE_FILE
    if options is None:
        return plan
    together: Trainer = build({**trainer, "logger": False})
    shared = together.world_size == 1 or _can_share(together)
    kept = probe.read(path, plan.fingerprint()) if shared else None
    if kept is not None:
        if together.is_global_zero:
            on_progress(Progress("probe", note=f"{kept.note} Kept from before."))
        return kept.apply(plan)
    if not together.is_global_zero:
        return plan
    rate = probe.configured_rate(plan)
    if not shared:
        choice = probe.unchanged(plan, rate, "Probe skipped: it needs processes that Lightning starts on one machine.")
    elif rate is None:
        choice = probe.unchanged(plan, rate, "Probe skipped: the optimizer has no lr to search for.")
    else:
        scratch = plan.out / _SCRATCH
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        began_with = _Random()
        try:
            choice = probe.search(
                plan,
                options,
                rate=rate,
                make_courses=lambda end: LightningCourses(
                    network,
                    base,
                    num_classes=num_classes,
                    optimizer=plan.optimizer,
                    trainer=trainer,
                    data=data,
                    score=score,
                    folder=scratch,
                    seed=plan.seed,
                    end=end,
                    restore_random=began_with.restore,
                    stop_requested=stop_requested,
                    monotonic=monotonic,
                ),
                batches_per_epoch=len(data.again().train_dataloader()),
                finish_at=finish_at,
                monotonic=monotonic,
                on_rung=lambda _: on_progress(Progress("probe")),
            )
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            network.load_state_dict(dict(base))
            network.zero_grad(set_to_none=True)
            began_with.restore()
    if shared:
        _write(path, choice)
    on_progress(Progress("probe", note=choice.note))
    return choice.apply(plan)


def _can_share(trainer: Trainer) -> bool:
    """Whether this process runs before the others do, on the machine where all of them will run."""
    strategy = trainer.strategy
    if not isinstance(strategy, ParallelStrategy) or trainer.num_nodes != 1:
        return False
    return isinstance(strategy.cluster_environment, LightningEnvironment)


def _write(path: Path, choice: probe.Choice) -> None:
    scratch = path.with_name(path.name + ".part")
    scratch.write_text(choice.to_json(), encoding="utf-8")
    replace_durably(scratch, path)


class _Random:
    """The random numbers that are current when this is made."""

    def __init__(self) -> None:
        self._cpu = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []

    def restore(self) -> None:
        torch.set_rng_state(self._cpu)
        if self._cuda:
            torch.cuda.set_rng_state_all(self._cuda)
