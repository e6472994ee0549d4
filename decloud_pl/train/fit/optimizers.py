"""Build optimizers and schedules from configuration nodes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hydra.utils import get_object
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from decloud_pl.build import build
from decloud_pl.errors import ConfigError, first_line
from decloud_pl.train.fit.deadline import DeadlineCallback
from decloud_pl.train.fit.schedule import ShareSchedule

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]
SchedulerFactory = Callable[[Optimizer, int], LRScheduler]
"""Makes a schedule from the optimizer and the number of steps. The schedule advances with every step."""

logger = logging.getLogger(__name__)


# Classes and not local functions, because a module may save its arguments in Lightning's checkpoints.
@dataclass(frozen=True)
class _MakesOptimizer:
    node: Mapping[str, Any]
    packages: Collection[str]
    make: OptimizerFactory
    groups_of: Callable[[nn.Module], Any]

    def __call__(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        parameters = list(parameters)
        try:
            return self.make(parameters)
        except (TypeError, ValueError, RuntimeError) as error:
            if "fused" not in self.node:
                raise _refused(self.node, error) from error
        logger.info("%s has no fused kernel on this device; it runs unfused", self.node["_target_"])
        plain = {name: value for name, value in self.node.items() if name != "fused"}
        return optimizer_factory(plain, self.packages)(parameters)


@dataclass(frozen=True)
class _MakesSchedule:
    node: Mapping[str, Any]
    make: SchedulerFactory

    def __call__(self, optimizer: Optimizer, steps: int) -> LRScheduler:
        try:
            return self.make(optimizer, steps)
        except (TypeError, ValueError, RuntimeError) as error:
            raise _refused(self.node, error) from error


def optimizer_factory(node: Mapping[str, Any], packages: Collection[str] = ()) -> OptimizerFactory:
    """Return a function that makes the node's optimizer.

    That function ignores ``fused`` if the optimizer has no fused kernel for the device. If the optimizer's class has a
    function ``groups_of``, which divides a module's parameters into groups, that function has it, too.

    Raises:
        ConfigError: the node is invalid. If only its arguments are invalid, the returned function raises this error.
    """
    make: OptimizerFactory = build(node, packages=packages)  # first, because it refuses targets that are not allowed
    groups_of = getattr(get_object(node["_target_"]), "groups_of", _trainable)
    return _MakesOptimizer(node, packages, make, groups_of)


def scheduler_factory(node: Mapping[str, Any] | None, packages: Collection[str] = ()) -> SchedulerFactory | None:
    """Return a function that makes the node's schedule. Without a node, return None: the rate is constant.

    Raises:
        ConfigError: the node is invalid. If only its arguments are invalid, the returned function raises this error.
    """
    if not node:
        return None
    return _MakesSchedule(node, build(node, packages=packages))


def configure(
    module: LightningModule, optimizer: OptimizerFactory, scheduler: SchedulerFactory | None
) -> OptimizerLRScheduler:
    """Return the result for ``configure_optimizers``: the optimizer, and a schedule that advances with every batch.

    In a fit with a deadline and a single process, this package's own schedules end at the deadline at the latest.
    """
    made = optimizer(getattr(optimizer, "groups_of", _trainable)(module))
    if scheduler is None:
        return made
    steps = int(module.trainer.estimated_stepping_batches)
    schedule = scheduler(made, steps)
    callbacks: list[Callback] = module.trainer.callbacks  # type: ignore[attr-defined]  # set while the Trainer is made
    deadline = next((one for one in callbacks if isinstance(one, DeadlineCallback)), None)
    if deadline is not None and isinstance(schedule, ShareSchedule) and module.trainer.world_size == 1:
        # Several processes would read different clocks and train with different rates.
        schedule.follow(deadline.share, steps)
    return {"optimizer": made, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _trainable(module: nn.Module) -> list[nn.Parameter]:
    return [one for one in module.parameters() if one.requires_grad]


def _refused(node: Mapping[str, Any], error: Exception) -> ConfigError:
    return ConfigError(f"{node['_target_']} cannot be built: {first_line(error)}.", fix="Correct its settings.")
