"""The best weights of a training so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

State = Mapping[str, torch.Tensor]


class BestWeights(Callback):
    """Evaluates after every epoch and when the training ends, on rank zero, and keeps the best weights.

    Args:
        evaluate: accuracy of the network as it is, 0 to 1.
        network_of: the trained network of the module; the module itself by default.
        report: called with each accuracy.
    """

    def __init__(
        self,
        evaluate: Callable[[nn.Module], float],
        *,
        network_of: Callable[[LightningModule], nn.Module] = lambda module: module,
        report: Callable[[float], None] | None = None,
    ) -> None:
        self._evaluate = evaluate
        self._network_of = network_of
        self._report = report
        self._step = -1
        self._accuracy = -1.0
        self._weights: dict[str, torch.Tensor] = {}

    @property
    def accuracy(self) -> float | None:
        """Of the best weights; None before the first evaluation."""
        return self._accuracy if self._weights else None

    def weights(self, network: nn.Module) -> State:
        """The best weights, or the network's own when nothing was evaluated."""
        return self._weights or network.state_dict()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._look(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._look(trainer, pl_module)

    def _look(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero or trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        network = self._network_of(pl_module)
        accuracy = self._evaluate(network)
        # Of two that are equally good the later has seen more.
        if accuracy >= self._accuracy:
            self._accuracy = accuracy
            self._weights = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
        if self._report is not None:
            self._report(accuracy)

    def state_dict(self) -> dict[str, Any]:
        return {"step": self._step, "accuracy": self._accuracy, "weights": self._weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._step = state_dict["step"]
        self._accuracy = state_dict["accuracy"]
        self._weights = state_dict["weights"]
