"""Learning rate schedules over a whole training, by share of its steps, or of its time if that is larger."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler


class ShareSchedule(LambdaLR):
    """A schedule by share of the training, as a function of the step, which may be a fraction."""

    def follow(self, share: Callable[[], float], total_steps: int) -> None:
        """Follow the share of the time that has passed, as soon as it exceeds the share of the steps.

        So the rate reaches its last value at the deadline, even if the machine slows down.

        Args:
            share: returns the share of the training's time that has passed, 0 to 1.
            total_steps: of the training.
        """

        def timed(factor: Callable[[float], float]) -> Callable[[float], float]:
            return lambda step: factor(max(step, total_steps * share()))

        factors = cast("list[Callable[[float], float]]", self.lr_lambdas)
        self.lr_lambdas = [timed(factor) for factor in factors]


def cosine(optimizer: Optimizer, total_steps: int, *, warmup: float = 0.0, final: float = 0.0) -> LRScheduler:
    """Decay from the optimizer's rate to a share of it along half a cosine.

    Args:
        optimizer: its rates are the peaks.
        total_steps: of the training.
        warmup: share of the steps in which the rate first rises linearly to the peak.
        final: last rate, as a share of the peak.
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
    """Raise the rate from a low to a high value, then lower it to zero (https://arxiv.org/abs/1708.07120).

    Args:
        optimizer: its rates are the reference.
        total_steps: of the training.
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
