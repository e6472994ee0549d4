"""What the fits of one round are built from: the base model, the data and the configuration."""

from __future__ import annotations

import dataclasses
import logging
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, ModelSummary, ProgressBar
from lightning.pytorch.plugins.io import AsyncCheckpointIO
from lightning.pytorch.profilers import Profiler

# Lightning has no public name by which strategies that spawn or fork processes could be told apart.
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from safetensors.torch import load_file
from torch import nn

from decloud_pl.build import build
from decloud_pl.data.source import Source
from decloud_pl.domain import RemedyName
from decloud_pl.errors import ConfigError, DecloudError, TrainingError
from decloud_pl.models.registry import build as build_network
from decloud_pl.models.spec import BaseModel
from decloud_pl.settings.training import TrainingConfig
from decloud_pl.train.fit.checkpoints import CheckpointCallback, usable
from decloud_pl.train.fit.datamodule import RoundDataModule
from decloud_pl.train.fit.encoding import check_fit
from decloud_pl.train.fit.optimizers import ConfiguredOptimizers, optimizer_factory, scheduler_factory
from decloud_pl.train.fit.own_code import (
    build_taking,
    check_callbacks,
    check_data,
    check_module,
    has_own_optimizer,
    parameters,
)
from decloud_pl.train.fit.own_data import OwnHeldOut
from decloud_pl.train.fit.precision import resolve_precision, speed_up_gpu
from decloud_pl.train.plan import RoundFile, TrainingPlan
from decloud_pl.train.progress import Supervisor
from decloud_pl.train.score.gate import Rules
from decloud_pl.train.score.judge import Halves, Judge
from decloud_pl.train.trainer_arguments import REFUSED, check_trainer
from decloud_pl.train.tune.halving import OutOfTime

logger = logging.getLogger(__name__)

State = dict[str, torch.Tensor]

_SWITCHES = (
    (ModelCheckpoint, "enable_checkpointing"),
    (ProgressBar, "enable_progress_bar"),
    (ModelSummary, "enable_model_summary"),
)


@dataclass(frozen=True)
class FitSetup:
    """Builds the parts of each fit. Every fit begins with the same base model and data, and ends with weights.

    Attributes:
        plan: the training.
        base: the fetched base model.
        state: its state dict, on the processor.
        data: the data module of the round; another fit gets the same data from its beginning.
    """

    plan: TrainingPlan
    base: BaseModel
    state: State
    data: LightningDataModule

    @classmethod
    def of(cls, plan: TrainingPlan, base: BaseModel) -> FitSetup:
        """The setup of a plan.

        Raises:
            ConfigError: a node that cannot be built, or sets what a training must own.
            DatasetError: the data set cannot be read.
            TrainingError: the base model does not fit the data set.
        """
        check_trainer(plan.config.trainer)
        return cls(plan, base, load_file(str(base.weights)), _make_data(plan, base))

    @property
    def config(self) -> TrainingConfig:
        return self.plan.config

    @property
    def round(self) -> RoundFile:
        return self.plan.round

    @property
    def num_classes(self) -> int:
        """Of the data, where the data module says it, else of the base model."""
        return int(getattr(self.data, "num_classes", self.base.classes))

    @property
    def source(self) -> Source | None:
        """The round's data set; None with a data module of the user's own."""
        return self.data.source if isinstance(self.data, RoundDataModule) else None

    @property
    def remedies(self) -> tuple[RemedyName, ...]:
        """What may be tried with an update that would be withheld; nothing in an experiment: it is scored as it is."""
        wanted = () if self.round.score_split == "test" else self.config.update.remedies
        return cast(tuple[RemedyName, ...], tuple(wanted))

    def with_nodes(self, **nodes: Any) -> FitSetup:
        """The same with other nodes of the configuration."""
        config = dataclasses.replace(self.config, **nodes)
        return dataclasses.replace(self, plan=dataclasses.replace(self.plan, config=config))

    def network(self) -> nn.Module:
        """A network with the base model's weights."""
        network = build_network(self.base.spec.architecture, self.base.spec.hyper_parameters)
        network.load_state_dict(self.state)
        return network.to(memory_format=torch.channels_last)

    def judge(self) -> Judge:
        """The judge of the round's updates."""
        round_, source = self.round, self.source
        rules = Rules(round_.read_as, round_.gradient_rate, round_.convention, self.config.update.min_gain)
        held_out: Halves | None = None
        if isinstance(self.data, RoundDataModule):
            held_out = self.data.held_out
        elif OwnHeldOut.is_in(self.data):
            held_out = OwnHeldOut(self.data, most_bytes=self.config.fit.data_memory_mb << 20)
        samples = None if source is None else source.test_samples
        return Judge(self.network(), self.state, held_out, rules, test_samples=samples)

    def module(self) -> LightningModule:
        """The module to train, with the base model in it.

        Raises:
            ConfigError: it cannot be built, see also `check_module`.
        """
        check_module(self.plan)
        node, packages = self.config.module, self.round.allow_packages
        optimizer = optimizer_factory(self._optimizer_node(), packages)
        scheduler = scheduler_factory(self.config.scheduler, packages)
        offers = {
            "network": self.network,
            "base": lambda: self.base,
            "num_classes": lambda: self.num_classes,
            "optimizer": lambda: optimizer,
            "scheduler": lambda: scheduler,
            "compiled": lambda: self.config.fit.compile,
            "keep_buffers": lambda: self.round.read_as == "gradient",
        }
        module: LightningModule = build_taking(
            node, offers, packages=packages, is_given=lambda name: self.round.is_given(f"module.{name}")
        )
        if not self.has_own_optimizer and not parameters(node, packages)("optimizer"):
            made = ConfiguredOptimizers(module, optimizer, scheduler)
            module.configure_optimizers = made.configure_optimizers  # type: ignore[method-assign]
        return module

    def _optimizer_node(self) -> dict[str, Any]:
        node = self.config.optimizer
        if self.config.trainer.get("gradient_clip_val") and "fused" in node:
            # In mixed precision Lightning refuses to clip for a fused optimizer.
            return {**node, "fused": False}
        return node

    @property
    def has_own_optimizer(self) -> bool:
        """Whether the module brings its optimizer, so that ``optimizer`` is not used."""
        return has_own_optimizer(self.plan)

    def checkpoints(self, path: Path, supervisor: Supervisor, *, every_seconds: float | None = None) -> Callback:
        """Writes the checkpoints of a fit.

        Args:
            path: the file.
            supervisor: may ask the training to stop.
            every_seconds: between two; as the user wants by default.
        """
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
        """Prepares a fit, from the base model or from the checkpoint of an earlier run of the same plan.

        The caller has seeded the random numbers before it made the module.

        Args:
            module: to train.
            callbacks: of the fit.
            checkpoint: where one would be; one of another plan or a damaged one is not used.
            logger: whether the user's logger gets the fit's metrics.

        Raises:
            ConfigError, TrainingError: see `make_trainer`.
        """
        found = None if checkpoint is None else usable(checkpoint, self.plan.fingerprint())
        # A data module remembers a place in the data, so each fit has one of its own.
        data = self.data.again() if isinstance(self.data, RoundDataModule) else self.data
        return Fit(make_trainer(self.plan, callbacks, logger=logger), module, data, found)


@dataclass(frozen=True)
class Fit:
    """A fit, ready to run.

    Attributes:
        trainer: Lightning's.
        module: what it trains.
        data: what on.
        checkpoint: the one that it resumes from, None for a fit from the base model.
    """

    trainer: Trainer
    module: LightningModule
    data: LightningDataModule
    checkpoint: Path | None

    def run(self) -> None:
        """Fits.

        Raises:
            DecloudError: a callback's; `TrainingError` for any other error, as a user's own class may raise it.
        """
        try:
            self.trainer.fit(self.module, datamodule=self.data, ckpt_path=self.checkpoint)
        except (DecloudError, OutOfTime, MemoryError):
            raise
        except Exception as error:
            logger.exception("The training failed")
            reason = (str(error).strip().splitlines() or [""])[0].rstrip(".")
            raise TrainingError(
                f"The training failed: {type(error).__name__}: {reason}.", fix="Its log has the traceback."
            ) from error


def make_callbacks(plan: TrainingPlan) -> list[Callback]:
    """The user's callbacks, in the order of the configuration.

    Raises:
        ConfigError: one that cannot be built, see also `check_callbacks`.
    """
    nodes = plan.config.callbacks or {}
    callbacks = [build(node, packages=plan.round.allow_packages) for node in nodes.values() if node]
    check_callbacks(plan, callbacks)
    return callbacks


def make_trainer(plan: TrainingPlan, callbacks: Sequence[Callback], *, logger: bool = True) -> Trainer:
    """Lightning's Trainer with the user's arguments.

    Args:
        plan: the training.
        callbacks: of the fit.
        logger: whether the user's logger gets the fit's metrics.

    Raises:
        ConfigError: the Trainer refuses an argument.
        TrainingError: a strategy whose processes could not hand the update back.
    """
    node = {name: value for name, value in plan.config.trainer.items() if name not in REFUSED}
    precision, accelerator = node.get("precision"), str(node.get("accelerator"))
    faster = speed_up_gpu(str(precision), accelerator)
    # PyTorch's search for fast convolutions is not deterministic.
    if node.get("benchmark") is None and not node.get("deterministic"):
        node |= faster
    if precision is not None:  # None leaves it to a plugin
        node["precision"] = resolve_precision(str(precision), accelerator)
    # Lightning refuses these callbacks while the argument for its own is off.
    for kind, argument in _SWITCHES:
        if any(isinstance(callback, kind) for callback in callbacks):
            node[argument] = True
    chosen = plan.config.logger if logger else None
    _allow_files(chosen or {})
    packages = plan.round.allow_packages
    trainer: Trainer = build(
        node,
        packages=packages,
        callbacks=list(callbacks),
        logger=build(chosen, packages=packages) if chosen else False,
        default_root_dir=str(plan.round.folder),
    )
    _check_strategy(trainer)
    if node.get("profiler"):
        _keep_report(trainer.profiler, plan.round.folder)  # type: ignore[attr-defined]  # set while it is made
    return trainer


def _make_data(plan: TrainingPlan, base: BaseModel) -> LightningDataModule:
    config, round_ = plan.config, plan.round
    offers = {
        "source": lambda: _source(plan, base),
        "spec": lambda: base.spec.input,
        "seed": lambda: config.seed,
        "memory_bytes": lambda: config.fit.data_memory_mb << 20,
        "workers": lambda: config.fit.data_workers,
    }
    check_data(plan)
    data: LightningDataModule = build_taking(
        config.datamodule,
        offers,
        packages=round_.allow_packages,
        is_given=lambda name: round_.is_given(f"datamodule.{name}"),
    )
    return data


def _source(plan: TrainingPlan, base: BaseModel) -> Source:
    source: Source = build(plan.config.dataset, packages=plan.round.allow_packages)
    check_fit(base, source)
    return source


def _check_strategy(trainer: Trainer) -> None:
    """Refuses strategies whose processes could not hand the update back."""
    if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
        raise TrainingError("Forked or spawned processes cannot hand the update back.", fix="Use trainer.strategy=ddp.")
    if isinstance(trainer.strategy.checkpoint_io, AsyncCheckpointIO):
        raise ConfigError(
            "AsyncCheckpointIO in trainer.plugins is refused: a stopped training must find its checkpoint on the disk.",
            fix="Use another plugin, or write fewer checkpoints with fit.checkpoint_seconds.",
        )


def _keep_report(profiler: Profiler, folder: Path) -> None:
    """Lets a profiler write its report into the round's folder, where the user has not said where."""
    profiler.dirpath = profiler.dirpath or folder
    profiler.filename = profiler.filename or "profile"


def _allow_files(logger: dict[str, Any]) -> None:
    """MLflow 3 keeps runs in plain files only where its environment allows it."""
    if str(logger.get("_target_", "")).endswith("MLFlowLogger"):
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")


def quiet() -> None:
    """Lightning's hints for interactive use would only fill the worker's log."""
    for name in ("utilities.rank_zero", "trainer.connectors.checkpoint_connector"):
        logging.getLogger(f"lightning.pytorch.{name}").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*")
