"""Our fit as a round makes it: the configuration's defaults, Lightning, the round's callbacks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from decloud_pl.build import build
from decloud_pl.data.catalog import Catalog
from decloud_pl.data.entry import DataFolder
from decloud_pl.data.source import Source
from decloud_pl.models.spec import ImageInput
from decloud_pl.settings import compose
from decloud_pl.train.callback import ProgressCallback
from decloud_pl.train.checkpoint import CheckpointCallback
from decloud_pl.train.datamodule import RoundDataModule
from decloud_pl.train.fitting import trainer_node
from decloud_pl.train.module import RoundModule
from decloud_pl.train.optimizers import optimizer_factory, scheduler_factory
from decloud_pl.train.options import split
from decloud_pl.train.plan import Progress, TrainingPlan


class Stopwatch(Callback):
    """When each step ended."""

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
    """The catalogue's declaration of the real data set."""
    data = DataFolder.from_node(None)
    return Catalog(data).resolve("fashionmnist").node(data)


def plan(folder: Path, *overrides: str, seed: int = 0, steps: int = 0) -> TrainingPlan:
    """A round's plan with the default settings."""
    settings = compose([f"seed={seed}", f"max_batches={steps}", *overrides])
    return TrainingPlan(
        base_model=folder / "base.pt",
        out=folder,
        dataset=fashion_mnist_node(),
        optimizer=settings.optimizer,
        scheduler=settings.scheduler or {},
        trainer=settings.trainer,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        max_batches=settings.max_batches,
        seed=settings.seed,
    )


def _nobody(progress: Progress) -> None:
    """Hears the progress."""


def fit(network: nn.Module, source: Source, made: TrainingPlan, data: RoundDataModule | None = None) -> list[float]:
    """Trains the network; when each step ended."""
    watch = Stopwatch()
    options, node = split(made.trainer)
    module = RoundModule(
        network,
        num_classes=source.num_classes,
        optimizer=optimizer_factory(made.optimizer),
        scheduler=scheduler_factory(made.scheduler),
    )
    checkpoint = CheckpointCallback(
        made.out / "training.ckpt", fingerprint="bench", every_seconds=options.checkpoint_seconds
    )
    callbacks = [watch, ProgressCallback(_nobody), checkpoint]
    trainer: Trainer = build(trainer_node(made, node), callbacks=callbacks)
    trainer.fit(module, datamodule=data or data_module(source, made))
    return watch.ends


def data_module(source: Source, made: TrainingPlan) -> RoundDataModule:
    return RoundDataModule(
        source, ImageInput(), batch_size=made.batch_size, seed=made.seed, max_batches=made.max_batches
    )
