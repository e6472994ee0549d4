"""Lightning's Trainer for a round: the user's arguments, the arguments that the round sets, and a fit ready to run."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, ModelSummary, ProgressBar
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.plugins.io import AsyncCheckpointIO, TorchCheckpointIO
from lightning.pytorch.profilers import Profiler

# Lightning has no public name that distinguishes strategies that spawn or fork processes.
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher

from decloud_pl.build import build
from decloud_pl.errors import ConfigError, DecloudError, TrainingError, first_line
from decloud_pl.proxies import for_libraries
from decloud_pl.train.fit.checkpoints import LocalCheckpointIO
from decloud_pl.train.fit.own_code import check_callbacks, unlogged
from decloud_pl.train.fit.precision import resolve_precision, speed_up_gpu
from decloud_pl.train.plan import TrainingPlan
from decloud_pl.train.tune.halving import OutOfTime
from decloud_pl.trainer_arguments import REFUSED

logger = logging.getLogger(__name__)

# Parts of the messages of EarlyStopping and ModelCheckpoint about a missing metric.
_UNLOGGED = re.compile("conditioned on metric|could not find the monitored key")
_SWITCHES = (
    (ModelCheckpoint, "enable_checkpointing"),
    (ProgressBar, "enable_progress_bar"),
    (ModelSummary, "enable_model_summary"),
)


class _NoLogger(DummyLogger):
    """Logs nothing. The user's code finds ``folder`` where it expects the folder of a logger."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = str(folder)

    @property
    def save_dir(self) -> str:
        return self._folder

    @property
    def root_dir(self) -> str:
        return self._folder

    @property
    def log_dir(self) -> str:
        return self._folder


@dataclass(frozen=True)
class Fit:
    """A fit that is ready to run. It resumes from ``checkpoint``, or starts from the base model if there is none."""

    trainer: Trainer
    module: LightningModule
    data: LightningDataModule
    checkpoint: Path | None

    def run(self) -> None:
        """Run the fit.

        Raises:
            ConfigError: a callback watches a metric that the training has not logged.
            TrainingError: any other error, for example from the user's class.
            DecloudError: raised by a callback; passed on unchanged.
        """
        try:
            self.trainer.fit(self.module, datamodule=self.data, ckpt_path=self.checkpoint)
        except (DecloudError, OutOfTime, MemoryError):
            raise
        except Exception as error:
            watching: list[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]  # set while it is made
            refusal = unlogged(watching, self.trainer.callback_metrics) if _UNLOGGED.search(str(error)) else None
            if refusal is not None:
                raise refusal from error
            logger.exception("The training failed")
            raise TrainingError(
                f"The training failed: {type(error).__name__}: {first_line(error)}.",
                fix="Read the traceback in the training's log.",
            ) from error


def make_callbacks(plan: TrainingPlan) -> list[Callback]:
    """Return the user's callbacks, in the order of the configuration.

    Raises:
        ConfigError: a callback cannot be built, or `check_callbacks` refuses it.
    """
    nodes = plan.config.callbacks or {}
    callbacks = [build(node, packages=plan.round.allow_packages) for node in nodes.values() if node]
    check_callbacks(plan, callbacks)
    return callbacks


def make_trainer(plan: TrainingPlan, callbacks: Sequence[Callback], *, logger: bool = True) -> Trainer:
    """Return Lightning's Trainer with the user's arguments.

    If ``logger`` is false, no metrics are logged. If the user has configured a logger, the user's classes still find a
    logger then, but it writes nothing, and its folder is the round's.

    Raises:
        ConfigError: the Trainer refuses an argument, or a plugin is not supported.
        TrainingError: the strategy starts processes that cannot return the update.
    """
    node = {name: value for name, value in plan.config.trainer.items() if name not in REFUSED}
    precision, accelerator = node.get("precision"), str(node.get("accelerator"))
    faster = speed_up_gpu(str(precision), accelerator)
    # PyTorch's search for fast convolutions is not deterministic.
    if node.get("benchmark") is None and not node.get("deterministic"):
        node |= faster
    if precision is not None:  # None leaves it to a plugin
        node["precision"] = resolve_precision(str(precision), accelerator)
    # Lightning refuses these callbacks while the matching argument is off.
    for kind, argument in _SWITCHES:
        if any(isinstance(callback, kind) for callback in callbacks):
            node[argument] = True
    chosen = plan.config.logger
    if chosen and logger:
        os.environ.update(for_libraries(os.environ))  # loggers use their own HTTP clients
    if chosen and logger and str(chosen.get("_target_", "")).endswith("MLFlowLogger"):
        # MLflow 3 writes runs to plain files only if this environment variable allows it.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    packages = plan.round.allow_packages
    trainer: Trainer = build(
        node,
        packages=packages,
        callbacks=list(callbacks),
        logger=(build(chosen, packages=packages) if logger else _NoLogger(plan.round.folder)) if chosen else False,
        default_root_dir=str(plan.round.folder),
    )
    _check_strategy(trainer)
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:  # not one of the user's plugins
        trainer.strategy.checkpoint_io = LocalCheckpointIO()
    if node.get("profiler"):
        profiler: Profiler = trainer.profiler  # type: ignore[attr-defined]  # set while it is made
        # By default the report goes into the round's folder.
        profiler.dirpath = profiler.dirpath or plan.round.folder
        profiler.filename = profiler.filename or "profile"
    return trainer


def _check_strategy(trainer: Trainer) -> None:
    if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
        raise TrainingError("Forked or spawned processes cannot return the update.", fix="Set trainer.strategy=ddp.")
    if isinstance(trainer.strategy.checkpoint_io, AsyncCheckpointIO):
        raise ConfigError(
            "AsyncCheckpointIO in trainer.plugins is not supported: a stopped training needs its checkpoint on disk.",
            fix="Remove the plugin. If checkpoints take too long, raise fit.checkpoint_seconds to write fewer of them.",
        )


def quiet() -> None:
    """Silence Lightning's hints for interactive use, which would only fill the worker's log."""
    for name in ("utilities.rank_zero", "trainer.connectors.checkpoint_connector"):
        logging.getLogger(f"lightning.pytorch.{name}").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*")
