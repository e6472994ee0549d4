"""Learning rate schedules over the whole of a training, by share of its steps."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler


def cosine(optimizer: Optimizer, total_steps: int, *, warmup: float = 0.0, final: float = 0.0) -> LRScheduler:
    """Half a cosine from the optimizer's rate down to a share of it.

    Args:
        optimizer: whose rates are the peaks.
        total_steps: of the training.
        warmup: share of the steps in which the rate rises to the peak first, in a straight line.
        final: share of the peak at the end.
    """
    rising = round(warmup * total_steps)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        done = min(1.0, (step - rising) / max(1, total_steps - rising))
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * done))

    return LambdaLR(optimizer, factor)


def onecycle(
    optimizer: Optimizer, total_steps: int, *, peak: float = 3.0, warmup: float = 0.3, start: float = 0.1
) -> LRScheduler:
    """Up from a low rate to a high one and down to nothing (https://arxiv.org/abs/1708.07120).

    Args:
        optimizer: whose rates are the measure.
        total_steps: of the training.
        peak: the highest rate, as a multiple.
        warmup: share of the steps in which the rate rises.
        start: the first rate, as a multiple.
    """
    rising = max(1, round(warmup * total_steps))

    def factor(step: int) -> float:
        if step < rising:
            return start + (peak - start) * 0.5 * (1 - math.cos(math.pi * step / rising))
        done = min(1.0, (step - rising) / max(1, total_steps - rising))
        return peak * 0.5 * (1 + math.cos(math.pi * done))

    return LambdaLR(optimizer, factor)
