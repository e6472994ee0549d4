"""A callback that keeps the best weights of a training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from decloud_pl.train.callbacks.delta import copied

State = Mapping[str, torch.Tensor]

_UNKNOWN = -1.0


class BestWeights(Callback):
    """Keep the weights with the best ``val/accuracy``, on rank zero.

    Put this callback before callbacks that swap the weights only for the validation, such as weight averages. At the
    end of the validation epoch, this callback then reads the validated weights, before they are swapped back.

    Args:
        network: the neural network whose weights to keep. None means the `LightningModule` itself.
        score: returns the accuracy (0 to 1) of a state dict, or None if unknown. Called for weights that were not
            validated.
        report: called with the accuracy (0 to 1) of each validation.
        by_score: call ``score`` after each validation and prefer its accuracy to ``val/accuracy``. Set this if the
            gate's verdict is measured on part of the validation data.
        keep: how many state dicts to keep: those with the best accuracies.
    """

    def __init__(
        self,
        *,
        network: nn.Module | None = None,
        score: Callable[[State], float | None] = lambda _: None,
        report: Callable[[float], None] = lambda _: None,
        by_score: bool = False,
        keep: int = 1,
    ) -> None:
        self._network = network
        self._score = score
        self._report = report
        self._by_score = by_score
        self._keep = keep
        self._kept: list[tuple[float, State]] = []  # the best first
        self._seen = 0.0  # identifies the weights that were validated last

    @property
    def accuracy(self) -> float | None:
        """Accuracy of the best weights, 0 to 1; None if no weights have been measured."""
        return None if not self._kept or self._kept[0][0] == _UNKNOWN else self._kept[0][0]

    @property
    def kept(self) -> Sequence[tuple[float, State]]:
        """The kept weights as (accuracy, state dict), the best first. An unknown accuracy is -1."""
        return self._kept

    def weights(self, network: nn.Module) -> State:
        """Return the weights with the best accuracy among the kept weights and the network's current weights.

        If the current weights were not validated, ``score`` measures them first. This happens if a callback changed
        the weights at the end of the fit, or if the fit ended between two validations.
        """
        state = network.state_dict()
        last = _digest(state)
        if not self._kept or last != self._seen:
            self._seen = last
            accuracy = self._score(state)
            if not self._kept or accuracy is not None:
                self._add(_UNKNOWN if accuracy is None else accuracy, copied(state))
        return self._kept[0][1]

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Every process must read the metric, which sums over all of them.
        measured = trainer.callback_metrics.get("val/accuracy")
        if trainer.sanity_checking or measured is None or not trainer.is_global_zero:
            return
        state = copied((self._network or pl_module).state_dict())
        scored = self._score(state) if self._by_score else None
        accuracy = float(measured) if scored is None else scored
        self._seen = _digest(state)
        self._add(accuracy, state)
        self._report(accuracy)

    def state_dict(self) -> dict[str, Any]:
        return {"kept": self._kept, "seen": self._seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._kept = state_dict["kept"]
        self._seen = state_dict["seen"]

    def _add(self, accuracy: float, state: State) -> None:
        # Of equally good states, the later one has trained on more data.
        place = sum(other > accuracy for other, _ in self._kept)
        self._kept = [*self._kept[:place], (accuracy, state), *self._kept[place:]][: self._keep]


def _digest(state: State) -> float:
    """Return the sum of all values of a state dict, to recognize the same weights again."""
    return sum(float(tensor.detach().cpu().double().sum()) for tensor in state.values())
