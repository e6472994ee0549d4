"""The best weights of a training so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

State = Mapping[str, torch.Tensor]


class BestWeights(Callback):
    """Keeps the weights of the best validation by ``val/accuracy``, on rank zero.

    Put it before callbacks that swap weights for a validation, as averages do: when the validation's epoch ends, the
    weights that were validated are still in place.

    Args:
        network: the trained network; the module itself by default.
        score: accuracy of a state on the same data, for weights that were not validated; None where it is unknown.
        report: called with each accuracy, 0 to 1.
        by_score: choose by ``score`` where it is known, for validation data that the verdict is by, too.
    """

    def __init__(
        self,
        *,
        network: nn.Module | None = None,
        score: Callable[[State], float | None] = lambda _: None,
        report: Callable[[float], None] = lambda _: None,
        by_score: bool = False,
    ) -> None:
        self._network = network
        self._score = score
        self._report = report
        self._by_score = by_score
        self._accuracy = -1.0
        self._weights: dict[str, torch.Tensor] = {}
        self._seen = 0.0  # names the weights that were validated last

    @property
    def accuracy(self) -> float | None:
        """Of the best weights; None before the first validation."""
        return None if self._accuracy < 0 else self._accuracy

    def weights(self, network: nn.Module) -> State:
        """The best weights: those of a validation, or the network's own where no validation saw better ones.

        A callback may have changed the network at the end of the fit, and a fit may end between two validations.
        """
        state = network.state_dict()
        last = _digest(state)
        if not self._weights or last != self._seen:
            self._seen = last
            accuracy = self._score(state)
            if not self._weights or (accuracy is not None and accuracy >= self._accuracy):
                self._weights = _copied(state)
                self._accuracy = self._accuracy if accuracy is None else accuracy
        return self._weights

    def score(self, state: State) -> float | None:
        """Accuracy of a state on the validation data, measured again only where it is not the best weights."""
        return self.accuracy if state is self._weights else self._score(state)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Every process reads the metric, which sums over all of them.
        measured = trainer.callback_metrics.get("val/accuracy")
        if trainer.sanity_checking or measured is None or not trainer.is_global_zero:
            return
        state = _copied((self._network or pl_module).state_dict())
        scored = self._score(state) if self._by_score else None
        accuracy = float(measured) if scored is None else scored
        self._seen = _digest(state)
        # Of two that are equally good the later has seen more.
        if accuracy >= self._accuracy:
            self._accuracy, self._weights = accuracy, state
        self._report(accuracy)

    def state_dict(self) -> dict[str, Any]:
        return {"accuracy": self._accuracy, "weights": self._weights, "seen": self._seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._accuracy = state_dict["accuracy"]
        self._weights = state_dict["weights"]
        self._seen = state_dict["seen"]


def _copied(state: State) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}


def _digest(state: State) -> float:
    """A number that differs between states that differ."""
    return sum(float(tensor.detach().cpu().double().sum()) for tensor in state.values())
