"""The computations of a validator: which samples a model gets right, and the accuracy gained."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np
import torch
from torch import nn

from decloud_pl.data.source import Split
from decloud_pl.models.inputs import ImageInput, InputSpec
from decloud_pl.train.fit.encoding import encoder_for

_BATCH = 512
_USUAL_SIDE = 256
_Z95 = 1.959963984540054
_DIVIDE_SEED = 20_251_125
_FLOAT_ERROR = 1e-3
"""The relative error of a logit, as of a GPU that multiplies with TF32 (10 bits of mantissa)."""


def rows_at_once(spec: InputSpec) -> int:
    """Return how many samples to score at a time, which is less for inputs of unusual size.

    The memory of a neural network grows with the number of pixels or, in attention, with the square of the number of
    tokens. So both are limited in the same way. For usual sizes the number stays the same, because other batches give
    logits with other rounding errors.
    """
    side = spec.size if isinstance(spec, ImageInput) else spec.length
    return max(1, min(_BATCH, _BATCH * _USUAL_SIDE**2 // side**2))


class Scorer:
    """Computes top-1 hits and accuracy over a whole split, in full precision.

    ``split`` may be a function that loads the split at first use.
    """

    _at_once = _BATCH

    def __init__(self, split: Split | Callable[[], Split], spec: InputSpec) -> None:
        self._split = split
        self._encoder = encoder_for(spec)
        self._at_once = rows_at_once(spec)

    @cached_property
    def split(self) -> Split:
        """The samples."""
        return self._split() if callable(self._split) else self._split

    @cached_property
    def rows(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The samples, packed by the encoder, and their labels as int64 (N,)."""
        return self._encoder.pack(self.split), torch.from_numpy(self.split.labels)

    def load(self) -> None:
        """Read and pack the samples now, so that the next scoring takes as long as each later one."""
        _ = self.rows

    def inputs(self, packed: torch.Tensor) -> torch.Tensor:
        """Convert some of the packed rows to the network's input."""
        return self._encoder.batch(packed)

    def hits(self, network: nn.Module) -> torch.Tensor:
        """Return, for each sample, whether its label has the largest logit: bool (N,), in CPU memory.

        The network's mode (training or evaluation) stays the same.
        """
        return self.predictions(network) == self.rows[1]

    def predictions(self, network: nn.Module) -> torch.Tensor:
        """Return the class with the largest logit for each sample: int64 (N,), in CPU memory.

        The network's mode (training or evaluation) stays the same.
        """
        return self._over_rows(network, lambda logits, _: logits.argmax(1))

    def hits_and_ties(self, network: nn.Module, state: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, int]:
        """Load weights into the network and return its hits and its number of ties. The network keeps these weights.

        A tie is a sample whose two largest logits are so close that another machine may predict the second class.
        """
        network.load_state_dict(dict(state))
        found = self._over_rows(
            network, lambda logits, labels: torch.stack([logits.argmax(1) == labels, _is_tie(logits)], 1)
        )
        return found[:, 0], int(found[:, 1].sum())

    @torch.inference_mode()
    def _over_rows(
        self, network: nn.Module, measure: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """Call ``measure`` with the logits and labels of each batch. Return the joined results, (N, …), on the CPU."""
        packed, all_labels = self.rows
        was_training = network.training
        device = next(network.parameters()).device
        network.eval()
        found: list[torch.Tensor] = []
        for start in range(0, len(all_labels), self._at_once):
            samples = self.inputs(packed[start : start + self._at_once].to(device))
            labels = all_labels[start : start + self._at_once].to(device)
            found.append(measure(network(samples), labels))
        network.train(was_training)
        return torch.cat(found).cpu() if found else torch.zeros(0, dtype=torch.int64)

    def hits_of(self, network: nn.Module, state: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Load weights into the network and return its hits. The network keeps these weights."""
        network.load_state_dict(dict(state))
        return self.hits(network)

    def predictions_of(self, network: nn.Module, state: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Load weights into the network and return its predictions. The network keeps these weights."""
        network.load_state_dict(dict(state))
        return self.predictions(network)

    def accuracy(self, network: nn.Module) -> float:
        """Return the share of hits, 0 to 1; 0 without samples."""
        return accuracy_of_hits(self.hits(network))

    def accuracy_of(self, network: nn.Module, state: Mapping[str, torch.Tensor]) -> float:
        """Load weights into the network and return its accuracy. The network keeps these weights."""
        return accuracy_of_hits(self.hits_of(network, state))


def _is_tie(logits: torch.Tensor) -> torch.Tensor:
    """Return, for each row, whether its two largest logits are equal up to float errors: bool (N,)."""
    if logits.shape[1] < 2:
        return torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
    two = logits.float().topk(2, 1).values
    return two[:, 0] - two[:, 1] <= _FLOAT_ERROR * logits.float().abs().amax(1)


def accuracy_of_hits(hits: torch.Tensor) -> float:
    """Return the share of hits, 0 to 1; 0 without samples."""
    return int(hits.sum()) / len(hits) if len(hits) else 0.0


class HeldOut:
    """The held-out part in two disjoint halves, which are always the same.

    The training chooses the best epoch, the encoding and the scale on the half ``select``. The chosen weights look
    better on that half than on new samples. So the result is measured on the half ``judge``. ``load`` reads the split
    at first use.
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
    """The accuracy that an update gains over the base model, estimated by scoring both on the same samples.

    Attributes:
        before: accuracy of the base model on the samples, 0 to 1.
        after: accuracy with the update, 0 to 1.
        low: lower end of the 95 % interval of the gain that a validator will measure on its own samples.
        high: upper end of that interval.
        samples: number of samples scored here.
    """

    before: float
    after: float
    low: float
    high: float
    samples: int

    @property
    def gain(self) -> float:
        """``after`` minus ``before``, -1 to 1."""
        return self.after - self.before

    @property
    def chance(self) -> float:
        """The probability that a validator's gain is above 0, by a normal distribution with this 95 % interval."""
        spread = (self.high - self.low) / (2 * _Z95)
        if not spread:
            return float(self.gain > 0)
        return 1 - NormalDist((self.low + self.high) / 2, spread).cdf(0.0)

    @classmethod
    def from_hits(cls, before: torch.Tensor, after: torch.Tensor, population: int | None = None) -> Gain:
        """Estimate the gain from the hits before and after the update, bool (N,) each.

        The interval is Agresti and Min's for the difference of two proportions from matched pairs, with half a sample
        added to each of the four cells (https://doi.org/10.1002/sim.1781). That interval covers only the sampling
        error of the samples here. The validator's samples have their own sampling error. So the variance is multiplied
        by ``1 + N / population``, where N is the number of samples here.

        Args:
            before: hits of the base model.
            after: hits of the base model with the update, on the same samples.
            population: number of samples that the validator scores; None to assume the same number as here.

        Raises:
            ValueError: ``before`` and ``after`` differ in length.
        """
        samples = len(before)
        if samples != len(after):
            raise ValueError(f"The tensors `before` ({samples}) and `after` ({len(after)}) must have the same length.")
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
