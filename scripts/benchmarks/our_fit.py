"""Run our fit as a round does: default settings, Lightning, and the round's callbacks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from torch import nn

from decloud_pl.config import compose
from decloud_pl.data.catalog import Catalog
from decloud_pl.data.entry import DataFolder
from decloud_pl.models import package
from decloud_pl.models.base_model import BaseModel
from decloud_pl.models.registry import build as build_network
from decloud_pl.models.spec import ModelSpec
from decloud_pl.rounds.planner import training_plan
from decloud_pl.train.callbacks.best import BestWeights
from decloud_pl.train.callbacks.delta import ProgressCallback, trained_network
from decloud_pl.train.fit.setup import FitSetup
from decloud_pl.train.plan import TrainingPlan
from decloud_pl.train.progress import Progress, Supervisor


class Stopwatch(Callback):
    """Records the time at which each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self.ends.append(time.perf_counter())


def fashion_mnist_node() -> dict[str, Any]:
    """Return the catalogue's node of the real data set."""
    data = DataFolder.from_node(None)
    return Catalog(data).resolve("fashionmnist").node(data)


def plan(
    base_model: Path,
    *overrides: str,
    dataset: dict[str, Any] | None = None,
    seed: int = 0,
    steps: int = 0,
    threads: int = 1,
    limited: bool = True,
) -> TrainingPlan:
    """Return the plan of a round in ``base_model``'s folder: the default settings and ``overrides``.

    Without a ``dataset``, the plan has Fashion-MNIST. If ``limited``, an epoch has at most ``steps`` steps.
    """
    limit = [f"max_batches={steps}"] if limited else []
    settings = compose([f"seed={seed}", *limit, *overrides])
    return training_plan(
        settings,
        dataset=dataset or fashion_mnist_node(),
        base_model=base_model,
        folder=base_model.parent,
        name="bench",
        threads=threads,
    )


def setup(folder: Path, *overrides: str, seed: int = 0, steps: int = 0) -> FitSetup:
    """Return the setup of a plan's fits, starting from a fresh `simple_cnn`."""
    torch.manual_seed(seed)
    spec = ModelSpec("simple_cnn", {"num_classes": 10})
    path = folder / f"base-{seed}.safetensors"
    package.save(path, spec, build_network(spec.architecture, spec.hyper_parameters).state_dict())
    return FitSetup.of(plan(path, *overrides, seed=seed, steps=steps), BaseModel(spec, path, 10))


def _nobody(progress: Progress) -> None:
    """Ignore the progress."""


def fit(made: FitSetup) -> tuple[nn.Module, list[float]]:
    """Train with the round's callbacks; return the network, and the time at which each step ended."""
    watch = Stopwatch()
    seed_everything(made.config.seed, workers=True, verbose=False)
    module = made.module()
    network = trained_network(module, made.state)
    checkpoints = made.checkpoints(made.round.folder / "training.ckpt", Supervisor())
    callbacks = [BestWeights(network=network), watch, ProgressCallback(_nobody), checkpoints]
    made.fit(module, callbacks).run()
    return network, watch.ends
