"""Progress for Lightning's loggers: TensorBoard, Weights & Biases, MLflow."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from decloud_pl.train.plan import Progress

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

_WHILE_FITTING = ("fit", "evaluate")


def allow_files(node: Mapping[str, object]) -> None:
    """MLflow 3 keeps runs in plain files only where it is told that it may."""
    if str(node.get("_target_", "")).endswith("MLFlowLogger"):
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")


class Tracker:
    """Hands progress on to a function and, while a fit runs, its loss and accuracy to loggers.

    Args:
        report: gets everything.

    Attributes:
        loggers: the trainer's; set before the fit.
    """

    def __init__(self, report: Callable[[Progress], None]) -> None:
        self._report = report
        self._step = 0
        self.loggers: list[Logger] = []

    def __call__(self, progress: Progress) -> None:
        self._report(progress)
        self._step = progress.step or self._step
        if progress.stage not in _WHILE_FITTING:
            return
        measured = {"loss": progress.loss, "accuracy": progress.accuracy}
        metrics = {name: value for name, value in measured.items() if value is not None}
        if metrics:
            for logger in self.loggers:
                logger.log_metrics(metrics, step=self._step)
