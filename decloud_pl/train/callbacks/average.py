"""Average the weights of a fit: a mean over the last steps (https://arxiv.org/abs/1803.05407), and a moving average."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

State = Mapping[str, torch.Tensor]

_UNKNOWN_TOTAL = 50
_DECAY = 0.8
"""Weight of the previous moving average when a snapshot is added. The snapshot has weight 1 - ``_DECAY``."""


class AverageWeights(Callback):
    """Take snapshots of the weights at evenly spaced steps, on rank zero, and average them.

    In the trainer's list of callbacks, put this callback before the one that writes checkpoints, because each
    checkpoint includes the averages. The attribute ``count`` is the number of snapshots in the mean. The attribute
    ``seen`` is the number of snapshots in the exponential moving average.

    Args:
        network: the trained network. The default is the module itself.
        share: the fraction of the fit's steps, counted from its end, that the mean covers.
        passed: returns the share of the fit's time that has passed, 0 to 1. If the time ends before the planned steps
            do, the mean covers the fraction ``share`` of the time.
        snapshots: approximate number of snapshots in the mean. The moving average uses snapshots of the whole fit, at
            the same intervals.
    """

    def __init__(
        self,
        *,
        network: nn.Module | None = None,
        share: float = 0.25,
        passed: Callable[[], float] | None = None,
        snapshots: int = 20,
    ) -> None:
        self._network = network
        self._share = share
        self._passed = passed
        self._snapshots = snapshots
        self._step = -1
        self.count = 0
        self.seen = 0
        self._mean: dict[str, torch.Tensor] = {}
        self._moving: dict[str, torch.Tensor] = {}

    def weights(self, network: nn.Module) -> State:
        """Return the mean of the snapshots. Tensors that are not floating-point come from ``network``."""
        return _in_place_of(network, self._mean)

    def moving(self, network: nn.Module) -> State:
        """Return the moving average. Tensors that are not floating-point come from ``network``."""
        return _in_place_of(network, self._moving)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        planned, step = trainer.estimated_stepping_batches, trainer.global_step
        total = 0 if math.isinf(planned) else int(planned)
        last = max(1, round(total * self._share))
        every = max(1, last // self._snapshots) if total else _UNKNOWN_TOTAL
        if not trainer.is_global_zero or step == self._step or (total - step) % every:
            return
        self._step = step
        self.seen += 1
        averages = [(self._moving, 1.0 if self.seen == 1 else 1 - _DECAY)]
        is_last = self._passed is not None and self._passed() > 1 - self._share
        if total - last < step <= total or is_last:
            self.count += 1
            averages.append((self._mean, 1 / self.count))
        for name, tensor in (self._network or pl_module).state_dict().items():
            if tensor.is_floating_point():
                value = tensor.detach().to("cpu", torch.float32, copy=True)
                for average, weight in averages:
                    entry = average.setdefault(name, torch.zeros_like(value))
                    entry += (value - entry) * weight

    def state_dict(self) -> dict[str, Any]:
        counts = {"step": self._step, "count": self.count, "seen": self.seen}
        return {**counts, "mean": self._mean, "moving": self._moving}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._step = state_dict["step"]
        self.count = state_dict["count"]
        self.seen = state_dict["seen"]
        self._mean = state_dict["mean"]
        self._moving = state_dict["moving"]


def _in_place_of(network: nn.Module, average: State) -> State:
    return {
        name: average[name].to(tensor.dtype) if name in average else tensor.detach().cpu()
        for name, tensor in network.state_dict().items()
    }
