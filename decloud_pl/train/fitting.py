"""Fits of one round: all begin with the same base model and data, and end with weights."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from torch import nn

from decloud_pl.build import build
from decloud_pl.data.source import Source
from decloud_pl.errors import TrainingError
from decloud_pl.models.registry import build as build_network
from decloud_pl.models.spec import ModelSpec
from decloud_pl.train.checkpoint import usable
from decloud_pl.train.datamodule import RoundDataModule
from decloud_pl.train.module import RoundModule
from decloud_pl.train.optimizers import optimizer_factory, scheduler_factory
from decloud_pl.train.options import TrainerOptions, split
from decloud_pl.train.plan import TrainingPlan
from decloud_pl.train.precision import resolve_precision, speed_up_gpu

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Ground:
    """What every fit of a round begins with.

    Attributes:
        source: the data set.
        spec: of the model.
        base: the fetched base model's state dict, on the processor.
        data: packs the splits once for all fits.
        options: this package's own settings of the trainer.
        node: Lightning's.
    """

    source: Source
    spec: ModelSpec
    base: State
    data: RoundDataModule
    options: TrainerOptions
    node: dict[str, object]

    @classmethod
    def of(cls, plan: TrainingPlan, source: Source, spec: ModelSpec, base: State) -> Ground:
        """The ground of a plan's fits.

        Raises:
            ConfigError: one of this package's own settings is wrong.
        """
        options, node = split(plan.trainer)
        data = RoundDataModule(
            source,
            spec.input,
            batch_size=plan.batch_size,
            seed=plan.seed,
            max_batches=plan.max_batches,
            memory_bytes=options.data_memory_mb << 20,
            workers=options.data_workers,
        )
        return cls(source, spec, base, data, options, node)

    def network(self) -> nn.Module:
        """A network with the base model's weights."""
        network = build_network(self.spec.architecture, self.spec.hyper_parameters)
        network.load_state_dict(self.base)
        return network.to(memory_format=torch.channels_last)

    def fit(
        self,
        plan: TrainingPlan,
        network: nn.Module,
        callbacks: Sequence[Callback],
        *,
        checkpoint: Path | None,
        logger: bool = True,
    ) -> Fit:
        """Prepares a fit of a plan, from the base model or from the checkpoint of an earlier run of the same plan.

        The caller has seeded the random numbers, before it made the network.

        Args:
            plan: the training.
            network: with the base model's weights.
            callbacks: of the fit.
            checkpoint: where one would be; one of another plan or a damaged one is not used.
            logger: whether the plan's logger is told.

        Raises:
            ConfigError: a node of the plan cannot be built.
            TrainingError: a strategy whose processes could not hand the update back.
        """
        module = RoundModule(
            network,
            num_classes=self.source.num_classes,
            optimizer=optimizer_factory(plan.optimizer),
            scheduler=scheduler_factory(plan.scheduler),
            compiled=self.options.compile,
        )
        trainer: Trainer = build(trainer_node(plan, self.node, logger=logger), callbacks=list(callbacks))
        check_strategy(trainer)
        found = None if checkpoint is None else usable(checkpoint, plan.fingerprint())
        # A data module remembers a place in the data, so each fit has one of its own.
        return Fit(trainer, module, self.data.again(), found)


@dataclass(frozen=True)
class Fit:
    """A fit, ready to run.

    Attributes:
        trainer: Lightning's.
        module: what it trains.
        data: what on.
        checkpoint: the one that it goes on from, None for a fit that begins anew.
    """

    trainer: Trainer
    module: RoundModule
    data: RoundDataModule
    checkpoint: Path | None

    def run(self) -> None:
        """Fits; raises what Lightning and the callbacks raise."""
        self.trainer.fit(self.module, datamodule=self.data, ckpt_path=self.checkpoint)


def trainer_node(plan: TrainingPlan, node: dict[str, object], *, logger: bool = True) -> dict[str, object]:
    """The user's trainer without what a round has no use for: checkpoints and bars cost steps."""
    precision, accelerator = str(node.get("precision")), str(node.get("accelerator"))
    return {
        "logger": (logger and plan.logger) or False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": str(plan.out),
        **speed_up_gpu(precision, accelerator),
        **node,
        "precision": resolve_precision(precision, accelerator),
        "max_epochs": plan.epochs,
        # The data module limits the batches of an epoch, evaluates and shares among processes itself.
        "limit_train_batches": 1.0,
        "limit_val_batches": 0,
        "use_distributed_sampler": False,
    }


def check_strategy(trainer: Trainer) -> None:
    """Refuses strategies whose processes could not hand the update back.

    Raises:
        TrainingError: it is one of those.
    """
    if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
        raise TrainingError("Forked or spawned processes cannot hand the update back.", fix="Use trainer.strategy=ddp.")


def quiet() -> None:
    """Lightning's hints for interactive use would only fill the worker's log."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*")
