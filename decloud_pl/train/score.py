"""What a validator computes: accuracy on the test split, and shares in proportion to the accuracy gained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

import torch
from torch import nn

from decloud_pl.data.source import Split
from decloud_pl.domain import BPS_DENOMINATOR
from decloud_pl.models.spec import InputSpec
from decloud_pl.train.encoding import encoder_for

_BATCH = 512


class Scorer:
    """Top-1 accuracy over a whole test split, in full precision.

    Args:
        test: the split, or what loads it when it is first needed.
        spec: the network's input.
    """

    def __init__(self, test: Split | Callable[[], Split], spec: InputSpec) -> None:
        self._test = test
        self._encoder = encoder_for(spec)

    @cached_property
    def _rows(self) -> tuple[torch.Tensor, torch.Tensor]:
        split = self._test() if callable(self._test) else self._test
        return self._encoder.pack(split), torch.from_numpy(split.labels)

    @torch.inference_mode()
    def accuracy(self, network: nn.Module) -> float:
        """The share of samples whose largest logit is the label's, 0 to 1. Leaves the network's mode as it was."""
        packed, all_labels = self._rows
        if not len(all_labels):
            return 0.0
        was_training = network.training
        device = next(network.parameters()).device
        network.eval()
        hits = 0
        for start in range(0, len(all_labels), _BATCH):
            samples = self._encoder.batch(packed[start : start + _BATCH].to(device))
            labels = all_labels[start : start + _BATCH].to(device)
            hits += int((network(samples).argmax(1) == labels).sum())
        network.train(was_training)
        return hits / len(all_labels)

    def accuracy_of(self, network: nn.Module, state: Mapping[str, torch.Tensor]) -> float:
        """The accuracy with other weights, which the network keeps."""
        network.load_state_dict(dict(state))
        return self.accuracy(network)


def contributions(baseline: float, accuracies: Mapping[str, float | None]) -> dict[str, int]:
    """Shares in basis points, in proportion to the accuracy gained over the base model.

    Args:
        baseline: accuracy of the base model.
        accuracies: of each submission; None for one that could not be loaded.

    Returns:
        A share for every submission; they sum to 10000 when anyone gained, else all are 0. What rounding
        leaves goes to the largest remainders, in the order of names where they are equal.
    """
    gains = {name: max(0.0, (value if value is not None else 0.0) - baseline) for name, value in accuracies.items()}
    total = sum(gains.values())
    if total <= 0:
        return dict.fromkeys(accuracies, 0)
    exact = {name: gain * BPS_DENOMINATOR / total for name, gain in gains.items()}
    shares = {name: int(share) for name, share in exact.items()}
    left = BPS_DENOMINATOR - sum(shares.values())
    by_remainder = sorted(
        (name for name in exact if gains[name] > 0), key=lambda name: (shares[name] - exact[name], name)
    )
    for name in by_remainder[:left]:
        shares[name] += 1
    return shares
