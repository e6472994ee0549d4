"""Compare recipes before a training: each trains for the same short time, and the best model decides."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from decloud_pl.errors import TrainingError, TrainingStopped
from decloud_pl.train.callbacks.delta import ProgressCallback, trained_network
from decloud_pl.train.fit.deadline import DeadlineCallback
from decloud_pl.train.fit.setup import FitSetup, State
from decloud_pl.train.progress import Progress, Supervisor
from decloud_pl.train.tune.trial import quick_trainer

logger = logging.getLogger(__name__)


class _CheckStop(Callback):
    """Raises `TrainingStopped` at the end of a batch if a stop was requested."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        self._supervisor.check_stop()


def race(
    setups: Mapping[str, FitSetup],
    *,
    seconds: float,
    score: Callable[[State], float | None],
    supervisor: Supervisor,
) -> dict[str, float]:
    """Train with each setup for the same time, and return the accuracy (0 to 1) that each reaches.

    The result leaves out a setup whose training failed.

    A training starts from the base model. Its learning rate completes the recipe's schedule in the short time, because
    a model gains most while the rate falls. All weights are discarded.

    Args:
        setups: the setups by recipe. Each has the number of epochs that fits into ``seconds``.
        seconds: duration of each training.
        score: returns the accuracy of given weights, or None if it cannot be measured. None counts as 0.
        supervisor: receives the progress of each training.

    Raises:
        TrainingStopped: a stop was requested.
        ConfigError: a node cannot be built.
        TrainingError: all trainings failed.
    """
    reached: dict[str, float] = {}
    failed: TrainingError | None = None
    for name, setup in setups.items():
        trainer = setup.config.trainer
        trained = setup.with_nodes(trainer=quick_trainer(trainer, max_epochs=trainer["max_epochs"]))
        # Each training, and then the round's fit, must start with the current random number state.
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            module = trained.module()
            deadline = DeadlineCallback(math.inf, monotonic=supervisor.monotonic, planned_seconds=seconds)
            report = supervisor.as_stage("probe").report
            progress = ProgressCallback(report, deadline.share, monotonic=supervisor.monotonic)
            try:
                trained.fit(module, [deadline, progress, _CheckStop(supervisor)], logger=False).run()
            except TrainingStopped:
                raise
            except TrainingError as error:
                logger.warning("The recipe %s does not take part in the race. %s", name, error)
                failed = error
                continue
        reached[name] = score(trained_network(module, setup.state).state_dict()) or 0.0
        supervisor.report(Progress("probe", accuracy=reached[name]))
    if not reached and failed is not None:
        raise failed
    return reached
