"""The uniform average of weights over the last part of a fit (https://arxiv.org/abs/1803.05407)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

State = Mapping[str, torch.Tensor]


class AverageWeights(Callback):
    """Keep the mean of the weights at evenly spaced steps in the last part of a fit, on rank zero.

    Put it before the callback that writes checkpoints, because they include the mean. ``count`` is the number of
    snapshots in the mean.

    Args:
        network: the trained network. The default is the module itself.
        share: the last part of the fit, as a share of its steps.
        snapshots: approximate number of snapshots.
    """

    def __init__(
        self,
        *,
        network: nn.Module | None = None,
        share: float = 0.25,
        snapshots: int = 20,
    ) -> None:
        self._network = network
        self._share = share
        self._snapshots = snapshots
        self._step = -1
        self.count = 0
        self._mean: dict[str, torch.Tensor] = {}

    def weights(self, network: nn.Module) -> State:
        """Return the average. Values that are not floating-point numbers come from the network."""
        own = network.state_dict()
        return {
            name: self._mean[name].to(tensor.dtype) if name in self._mean else tensor.detach().cpu()
            for name, tensor in own.items()
        }

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        total, step = int(trainer.estimated_stepping_batches), trainer.global_step
        last = max(1, round(total * self._share))
        every = max(1, last // self._snapshots)
        if not trainer.is_global_zero or step == self._step or step <= total - last or (total - step) % every:
            return
        self._step = step
        self.count += 1
        for name, tensor in (self._network or pl_module).state_dict().items():
            if tensor.is_floating_point():
                value = tensor.detach().to("cpu", torch.float32, copy=True)
                mean = self._mean.setdefault(name, torch.zeros_like(value))
                mean += (value - mean) / self.count

    def state_dict(self) -> dict[str, Any]:
        return {"step": self._step, "count": self.count, "mean": self._mean}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._step = state_dict["step"]
        self.count = state_dict["count"]
        self._mean = state_dict["mean"]
