"""The base model, data and configuration from which all fits of a round are built."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule
from lightning.pytorch.utilities.model_helpers import is_overridden
from safetensors.torch import load_file
from torch import nn

from decloud_pl.build import build
from decloud_pl.config.training import TrainingConfig
from decloud_pl.data.source import Source
from decloud_pl.domain import CandidateName
from decloud_pl.models.base_model import BaseModel
from decloud_pl.train.fit.checkpoints import CheckpointCallback, usable
from decloud_pl.train.fit.datamodule import RoundDataModule
from decloud_pl.train.fit.encoding import check_fit
from decloud_pl.train.fit.optimizers import configure, optimizer_factory, scheduler_factory
from decloud_pl.train.fit.own_code import (
    build_taking,
    check_data,
    check_module,
    has_own_optimizer,
    parameters,
)
from decloud_pl.train.fit.own_data import OwnHeldOut
from decloud_pl.train.fit.recipe import applied
from decloud_pl.train.fit.trainer import Fit, make_trainer
from decloud_pl.train.plan import RoundFile, TrainingPlan
from decloud_pl.train.progress import Supervisor
from decloud_pl.train.score.gate import Rules
from decloud_pl.train.score.judge import Halves, Judge

State = dict[str, torch.Tensor]

LOWER_RATE = 0.1
"""Factor of the learning rate in further trainings of a round."""


@dataclass(frozen=True)
class FitSetup:
    """Builds the parts of each fit. Every fit of a round starts with the same base model and data.

    ``state`` is the base model's state dict, in CPU memory. ``planned_seconds`` is the time for which the recipe and
    the number of epochs were chosen; None if the training keeps its configured values.
    """

    plan: TrainingPlan
    base: BaseModel
    state: State
    data: LightningDataModule
    planned_seconds: float | None = None

    @classmethod
    def of(cls, plan: TrainingPlan, base: BaseModel) -> FitSetup:
        """Create the setup and open the data.

        Raises:
            ConfigError: a node of the configuration cannot be built.
            DatasetError: the data set cannot be read.
            TrainingError: the base model does not fit the data set.
        """
        return cls(plan, base, load_file(str(base.weights)), _make_data(plan, base))

    @property
    def config(self) -> TrainingConfig:
        return self.plan.config

    @property
    def round(self) -> RoundFile:
        return self.plan.round

    @property
    def source(self) -> Source | None:
        """The round's data set; None if the user has a custom data module."""
        return self.data.source if isinstance(self.data, RoundDataModule) else None

    @property
    def candidates(self) -> tuple[CandidateName, ...]:
        """The candidates for the update's weights besides the training's last weights; see `CandidateName`.

        An experiment has no candidate ``lower_rate``, because the experiment's score must belong to the configured
        learning rate.
        """
        once = self.round.score_split == "test"
        wanted = [name for name in self.config.update.candidates if not (once and name == "lower_rate")]
        return cast(tuple[CandidateName, ...], tuple(wanted))

    def with_nodes(self, **nodes: Any) -> FitSetup:
        """Return the same setup with some nodes of the configuration replaced."""
        config = dataclasses.replace(self.config, **nodes)
        return dataclasses.replace(self, plan=dataclasses.replace(self.plan, config=config))

    def slower(self, factor: float) -> FitSetup | None:
        """Return the same setup with ``factor`` times the learning rate, or None if the optimizer's node has no lr."""
        rate = self.config.optimizer.get("lr")
        if self.has_own_optimizer or not isinstance(rate, (int, float)) or isinstance(rate, bool):
            return None
        return self.with_nodes(optimizer={**self.config.optimizer, "lr": rate * factor})

    def network(self) -> nn.Module:
        """Return a new neural network with the base model's weights."""
        network = self.base.spec.network()
        network.load_state_dict(self.state)
        return network.to(memory_format=torch.channels_last)

    def judge(self) -> Judge:
        round_, source = self.round, self.source
        bar = self.config.update.min_gain
        rules = Rules(round_.read_as, round_.gradient_rate, round_.convention, bar, round_.payout)
        held_out: Halves | None = None
        if isinstance(self.data, RoundDataModule):
            held_out = self.data.held_out
        elif is_overridden("val_dataloader", self.data, LightningDataModule):
            held_out = OwnHeldOut(self.data, most_bytes=self.config.fit.data_memory_mb << 20)
        samples = None if source is None else source.test_samples
        return Judge(self.network(), self.state, held_out, rules, test_samples=samples)

    def module(self) -> LightningModule:
        """Return the Lightning module to train. It contains a network with the base model's weights.

        Raises:
            ConfigError: the module cannot be built, or `check_module` refuses it.
        """
        check_module(self.plan)
        packages = self.round.allow_packages
        optimizer = optimizer_factory(self._optimizer_node(), packages)
        scheduler = scheduler_factory(self.config.scheduler, packages)
        offers = {
            "network": self.network,
            "base": lambda: self.base,
            "num_classes": lambda: int(getattr(self.data, "num_classes", self.base.classes)),
            "optimizer": lambda: optimizer,
            "scheduler": lambda: scheduler,
            "compiled": lambda: self.config.fit.compile,
        }
        module: LightningModule = build_taking(self.plan, "module", offers)
        if not self.has_own_optimizer and "optimizer" not in parameters(self.plan, "module"):
            module.configure_optimizers = partial(configure, module, optimizer, scheduler)  # type: ignore[method-assign]
        return module

    def _optimizer_node(self) -> dict[str, Any]:
        node = self.config.optimizer
        if self.config.trainer.get("gradient_clip_val") and "fused" in node:
            # In mixed precision, Lightning cannot clip gradients with a fused optimizer.
            return {**node, "fused": False}
        return node

    @property
    def has_own_optimizer(self) -> bool:
        """Whether the module makes its own optimizer, so that ``optimizer`` is not used."""
        return has_own_optimizer(self.plan)

    def checkpoints(self, path: Path, supervisor: Supervisor, *, every_seconds: float | None = None) -> Callback:
        """Return the callback that writes a fit's checkpoints. ``every_seconds`` defaults to the user's setting."""
        return CheckpointCallback(
            path,
            fingerprint=self.plan.fingerprint(),
            every_seconds=self.config.fit.checkpoint_seconds if every_seconds is None else every_seconds,
            seed=self.config.seed,
            stop_requested=supervisor.stop_requested,
            monotonic=supervisor.monotonic,
        )

    def fit(
        self,
        module: LightningModule,
        callbacks: Sequence[Callback],
        *,
        checkpoint: Path | None = None,
        logger: bool = True,
    ) -> Fit:
        """Prepare a fit that starts from the base model, or resumes from ``checkpoint``.

        The caller must seed the random number generators before it creates ``module``. The checkpoint is used only
        if it is readable and an earlier run of the same `TrainingPlan` wrote it. Otherwise the fit ignores it.

        Raises:
            ConfigError, TrainingError: see `make_trainer`.
        """
        found = None if checkpoint is None else usable(checkpoint, self.plan.fingerprint())
        # A data module stores a position in the data, so each fit gets its own.
        data = self.data.again() if isinstance(self.data, RoundDataModule) else self.data
        return Fit(make_trainer(self._within_epochs(data).plan, callbacks, logger=logger), module, data, found)

    def _within_epochs(self, data: LightningDataModule) -> FitSetup:
        """Return the setup with validation after each epoch if the epochs are too short for ``val_check_interval``.

        Lightning would refuse that number. The user could not know it, if a recipe has set the batch size or if the
        training is for a round.
        """
        trainer, recipe = self.config.trainer, applied(self.config).get("datamodule") or {}
        every, by_epoch = trainer.get("val_check_interval"), trainer.get("check_val_every_n_epoch", 1) is not None
        of_recipe = "batch_size" in recipe and not self.round.is_given("datamodule.batch_size")
        unforeseen = of_recipe or self.planned_seconds is not None
        if not (unforeseen and by_epoch and isinstance(data, RoundDataModule) and isinstance(every, int)):
            return self
        if every <= data.batches_per_epoch(trainer.get("limit_train_batches")):
            return self
        return self.with_nodes(trainer={**trainer, "val_check_interval": 1.0})


def _make_data(plan: TrainingPlan, base: BaseModel) -> LightningDataModule:
    config = plan.config
    offers = {
        "source": lambda: _source(plan, base),
        "spec": lambda: base.spec.input,
        "seed": lambda: config.seed,
        "memory_bytes": lambda: config.fit.data_memory_mb << 20,
        "workers": lambda: config.fit.data_workers,
    }
    check_data(plan)
    data: LightningDataModule = build_taking(plan, "datamodule", offers)
    return data


def _source(plan: TrainingPlan, base: BaseModel) -> Source:
    source: Source = build(plan.config.dataset, packages=plan.round.allow_packages)
    check_fit(base, source)
    return source
