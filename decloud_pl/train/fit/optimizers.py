"""Optimizers and schedules from configuration nodes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from decloud_pl.build import build
from decloud_pl.errors import ConfigError

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]
SchedulerFactory = Callable[[Optimizer, int], LRScheduler]
"""From the optimizer and the number of steps to a schedule that advances with every step."""

logger = logging.getLogger(__name__)


def optimizer_factory(node: Mapping[str, Any], packages: Collection[str] = ()) -> OptimizerFactory:
    """Makes the node's optimizer; without ``fused`` where the optimizer or the device has no fused kernel.

    Raises:
        ConfigError: the node, at once; its arguments, when the optimizer is made.
    """
    make: OptimizerFactory = build(node, packages=packages)

    def factory(parameters: Iterable[nn.Parameter]) -> Optimizer:
        parameters = list(parameters)
        try:
            return make(parameters)
        except (TypeError, ValueError, RuntimeError) as error:
            if "fused" not in node:
                raise _refused(node, error) from error
        plain: OptimizerFactory = build(
            {name: value for name, value in node.items() if name != "fused"}, packages=packages
        )
        try:
            optimizer = plain(parameters)
        except (TypeError, ValueError, RuntimeError) as error:
            raise _refused(node, error) from error
        logger.info("%s runs unfused here", node["_target_"])
        return optimizer

    return factory


def scheduler_factory(node: Mapping[str, Any] | None, packages: Collection[str] = ()) -> SchedulerFactory | None:
    """The node's schedule, None for a constant rate.

    Raises:
        ConfigError: the node.
    """
    if not node:
        return None
    make: SchedulerFactory = build(node, packages=packages)

    def factory(optimizer: Optimizer, steps: int) -> LRScheduler:
        try:
            return make(optimizer, steps)
        except (TypeError, ValueError, RuntimeError) as error:
            raise _refused(node, error) from error

    return factory


def configure(
    module: LightningModule,
    parameters: Iterable[nn.Parameter],
    optimizer: OptimizerFactory,
    scheduler: SchedulerFactory | None,
) -> OptimizerLRScheduler:
    """What ``configure_optimizers`` returns: the optimizer, and a schedule that is stepped with every batch."""
    made = optimizer(parameters)
    if scheduler is None:
        return made
    schedule = scheduler(made, int(module.trainer.estimated_stepping_batches))
    return {"optimizer": made, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


@dataclass(frozen=True)
class ConfiguredOptimizers:
    """``configure_optimizers`` of a module that does not have its own.

    Attributes:
        module: it.
        optimizer: makes the optimizer.
        scheduler: makes the schedule, None for a constant rate.
    """

    module: LightningModule
    optimizer: OptimizerFactory
    scheduler: SchedulerFactory | None

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """See `configure`."""
        trained = (parameter for parameter in self.module.parameters() if parameter.requires_grad)
        return configure(self.module, trained, self.optimizer, self.scheduler)


def _refused(node: Mapping[str, Any], error: Exception) -> ConfigError:
    reason = str(error).strip().splitlines()[0].rstrip(".")
    return ConfigError(f"{node['_target_']} cannot be built: {reason}.", fix="Correct its settings.")
