"""Learning rate schedules over a whole training.

The rate depends on the share of the steps that are done. After a call of `ShareSchedule.follow`, it also depends on the
share of the time that has passed: the larger of the two shares determines the rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler


class ShareSchedule(LambdaLR):
    """A schedule that can follow the time as well as the steps. Its rate functions accept fractions of a step."""

    def follow(self, share: Callable[[], float], total_steps: int) -> None:
        """Make the rate depend on the time as well as on the steps.

        From now on, the rate depends on the share of the steps that are done or on the share of the time that has
        passed, whichever is larger. So the rate reaches its last value by the deadline, even if the machine slows down.

        Args:
            share: returns the share of the training's time that has passed, 0 to 1.
            total_steps: number of steps of the training.
        """

        def timed(factor: Callable[[float], float]) -> Callable[[float], float]:
            return lambda step: factor(max(step, total_steps * share()))

        # torch types the argument as an int, but these functions accept a part of a step.
        self.lr_lambdas = [timed(cast("Callable[[float], float]", factor)) for factor in self.lr_lambdas]


def cosine(optimizer: Optimizer, total_steps: int, *, warmup: float = 0.0, final: float = 0.0) -> LRScheduler:
    """Return a schedule that lowers the rate along half a cosine, from the optimizer's rate to a share of it.

    Args:
        optimizer: its learning rates are the peaks.
        total_steps: number of steps of the training.
        warmup: share of the steps in which the rate first rises linearly to the peak.
        final: the last rate, as a share of the peak.
    """
    rising = round(warmup * total_steps)

    def factor(step: float) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        done = min(1.0, (step - rising) / max(1, total_steps - rising))
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * done))

    return ShareSchedule(optimizer, factor)


def onecycle(
    optimizer: Optimizer, total_steps: int, *, peak: float = 3.0, warmup: float = 0.3, start: float = 0.1
) -> LRScheduler:
    """Return a schedule that first raises the rate, then lowers it to zero (https://arxiv.org/abs/1708.07120).

    Args:
        optimizer: its learning rates are the reference.
        total_steps: number of steps of the training.
        peak: the highest rate, as a multiple of the reference.
        warmup: share of the steps in which the rate rises.
        start: the first rate, as a multiple of the reference.
    """
    rising = max(1, round(warmup * total_steps))

    def factor(step: float) -> float:
        if step < rising:
            return start + (peak - start) * 0.5 * (1 - math.cos(math.pi * step / rising))
        done = min(1.0, (step - rising) / max(1, total_steps - rising))
        return peak * 0.5 * (1 + math.cos(math.pi * done))

    return ShareSchedule(optimizer, factor)
