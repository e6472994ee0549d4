"""Optimizers and schedules from configuration nodes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from decloud_pl.build import build
from decloud_pl.errors import ConfigError

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]
SchedulerFactory = Callable[[Optimizer, int], LRScheduler]
"""From the optimizer and the number of steps to a schedule that advances with every step."""

logger = logging.getLogger(__name__)


def optimizer_factory(node: Mapping[str, Any]) -> OptimizerFactory:
    """Makes the node's optimizer; without ``fused`` where the optimizer or the device has no fused kernel.

    Raises:
        ConfigError: the node, at once; its arguments, when the optimizer is made.
    """
    make: OptimizerFactory = build(node)

    def factory(parameters: Iterable[nn.Parameter]) -> Optimizer:
        parameters = list(parameters)
        try:
            return make(parameters)
        except (TypeError, ValueError, RuntimeError) as error:
            if "fused" not in node:
                raise _refused(node, error) from error
        plain: OptimizerFactory = build({name: value for name, value in node.items() if name != "fused"})
        try:
            optimizer = plain(parameters)
        except (TypeError, ValueError, RuntimeError) as error:
            raise _refused(node, error) from error
        logger.info("%s runs unfused here", node["_target_"])
        return optimizer

    return factory


def scheduler_factory(node: Mapping[str, Any]) -> SchedulerFactory | None:
    """The node's schedule, None for a constant rate.

    Raises:
        ConfigError: the node.
    """
    if not node:
        return None
    make: SchedulerFactory = build(node)
    return make


def _refused(node: Mapping[str, Any], error: Exception) -> ConfigError:
    reason = str(error).strip().splitlines()[0].rstrip(".")
    return ConfigError(f"{node['_target_']} cannot be built: {reason}.", fix="Correct its settings.")
