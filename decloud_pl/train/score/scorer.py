"""What a validator computes: which samples a model gets right, and the accuracy gained."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import nn

from decloud_pl.data.source import Split
from decloud_pl.models.spec import InputSpec
from decloud_pl.train.fit.encoding import encoder_for

_BATCH = 512
_Z95 = 1.959963984540054
_DIVIDE_SEED = 20_251_125


class Scorer:
    """Top-1 hits and accuracy over a whole split, in full precision.

    The split may be what loads it when it is first needed.
    """

    def __init__(self, split: Split | Callable[[], Split], spec: InputSpec) -> None:
        self._split = split
        self._encoder = encoder_for(spec)

    @cached_property
    def split(self) -> Split:
        """The samples."""
        return self._split() if callable(self._split) else self._split

    @cached_property
    def rows(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The samples as the encoder packs them, and their labels int64 (N,)."""
        return self._encoder.pack(self.split), torch.from_numpy(self.split.labels)

    def inputs(self, packed: torch.Tensor) -> torch.Tensor:
        """What the network takes, from some of the packed rows."""
        return self._encoder.batch(packed)

    @torch.inference_mode()
    def hits(self, network: nn.Module) -> torch.Tensor:
        """Whether the largest logit is the label's, sample by sample: bool (N,), on the processor.

        Leaves the network's mode as it was.
        """
        packed, all_labels = self.rows
        was_training = network.training
        device = next(network.parameters()).device
        network.eval()
        found: list[torch.Tensor] = []
        for start in range(0, len(all_labels), _BATCH):
            samples = self.inputs(packed[start : start + _BATCH].to(device))
            labels = all_labels[start : start + _BATCH].to(device)
            found.append(network(samples).argmax(1) == labels)
        network.train(was_training)
        return torch.cat(found).cpu() if found else torch.zeros(0, dtype=torch.bool)

    def hits_of(self, network: nn.Module, state: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The hits with other weights, which the network keeps."""
        network.load_state_dict(dict(state))
        return self.hits(network)

    def accuracy(self, network: nn.Module) -> float:
        """The share of hits, 0 to 1; 0 without samples."""
        return accuracy_of_hits(self.hits(network))

    def accuracy_of(self, network: nn.Module, state: Mapping[str, torch.Tensor]) -> float:
        """The accuracy with other weights, which the network keeps."""
        return accuracy_of_hits(self.hits_of(network, state))


def accuracy_of_hits(hits: torch.Tensor) -> float:
    """The share of hits, 0 to 1; 0 without samples."""
    return int(hits.sum()) / len(hits) if len(hits) else 0.0


class HeldOut:
    """The held-out data in two halves without a sample in common, always the same ones.

    What is chosen (the best epoch, the encoding, the scale) is chosen on one half, ``select``, and what was chosen is
    judged on the other, ``judge``: on the samples that a choice was made by, it looks better than it is. ``load`` reads
    the split when it is first needed.
    """

    def __init__(self, load: Callable[[], Split], spec: InputSpec) -> None:
        self._load = load
        self.select = Scorer(lambda: self._halves[0], spec)
        self.judge = Scorer(lambda: self._halves[1], spec)

    @cached_property
    def _halves(self) -> tuple[Split, Split]:
        split = self._load()
        order = np.random.default_rng(_DIVIDE_SEED).permutation(len(split))
        middle = len(split) // 2
        return split.take(np.sort(order[:middle])), split.take(np.sort(order[middle:]))


@dataclass(frozen=True, slots=True)
class Gain:
    """The accuracy that an update gains over the base model, estimated from samples that both were scored on.

    Attributes:
        before: accuracy of the base model on the samples, 0 to 1.
        after: the same with the update.
        low: lower end of the 95 % interval of the gain that a validator will measure on samples of its own.
        high: upper end of it.
        samples: how many were scored here.
    """

    before: float
    after: float
    low: float
    high: float
    samples: int

    @property
    def gain(self) -> float:
        """``after`` less ``before``, -1 to 1."""
        return self.after - self.before

    @classmethod
    def from_hits(cls, before: torch.Tensor, after: torch.Tensor, population: int | None = None) -> Gain:
        """From paired hits, bool (N,) each.

        The interval is Agresti and Min's for the difference of two proportions from matched pairs, with half a sample
        added to each of the four cells (https://doi.org/10.1002/sim.1781), widened to one for the difference that
        another, independent sample shows: its own chance adds ``n / population`` to the variance.

        Args:
            before: of the base model.
            after: of the base model with the update, on the same samples.
            population: how many samples the validator scores; as many as here where it is not known.

        Raises:
            ValueError: there are not as many of one as of the other.
        """
        samples = len(before)
        if samples != len(after):
            raise ValueError(f"{samples} hits before and {len(after)} after are no pairs.")
        won, lost = int((after & ~before).sum()) + 0.5, int((before & ~after).sum()) + 0.5
        total = samples + 2
        middle = (won - lost) / total
        variance = max(0.0, won + lost - (won - lost) ** 2 / total) / total**2
        reach = _Z95 * math.sqrt(variance * (1 + samples / (population or max(1, samples))))
        return cls(
            accuracy_of_hits(before),
            accuracy_of_hits(after),
            max(-1.0, middle - reach),
            min(1.0, middle + reach),
            samples,
        )
