"""Score submissions as the public validator does.

This module was written from the protocol alone and shares no code with the trainer's own scoring in `decloud_pl.train`.
A mistake in one of the two implementations therefore shows up as a difference between their scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from decloud_pl.data.formats.image_files import ImageFiles
from decloud_pl.data.source import ImageSplit, Split
from decloud_pl.domain import BPS_DENOMINATOR, Convention
from decloud_pl.errors import LocalnetError
from decloud_pl.models import tokenizer
from decloud_pl.models.inputs import ImageInput, InputSpec
from decloud_pl.models.spec import ModelSpec

State = Mapping[str, torch.Tensor]

_BATCH = 256


@dataclass(frozen=True)
class Samples:
    """All samples of a split, converted for a network's input and stored as small integers.

    Attributes:
        rows: images uint8 (N, 1 or 3, size, size), or token ids int32 (N, length).
        labels: int64 (N,).
        spec: the description of the network's input.
    """

    rows: torch.Tensor
    labels: torch.Tensor
    spec: InputSpec

    @classmethod
    def of(cls, split: Split, spec: InputSpec) -> Samples:
        """Convert the samples of a split. Images are resized bilinearly with antialiasing.

        Raises:
            LocalnetError: the network's input and the split are of different kinds (image, text).
        """
        labels = torch.from_numpy(split.labels)
        if isinstance(split, ImageSplit) and isinstance(spec, ImageInput):
            pixels = split.images.read(spec.size) if isinstance(split.images, ImageFiles) else split.images
            images = torch.from_numpy(np.ascontiguousarray(pixels))
            images = images.unsqueeze(1) if images.ndim == 3 else images.movedim(3, 1)
            size = (spec.size, spec.size)
            resized = [
                functional.interpolate(part, size, mode="bilinear", antialias=True)
                for part in torch.split(images, _BATCH)
            ]
            return cls(torch.cat(resized), labels, spec)
        if not isinstance(split, ImageSplit) and not isinstance(spec, ImageInput):
            numbers = tokenizer.encode(split.texts, vocabulary=spec.vocabulary, length=spec.length)
            return cls(torch.from_numpy(numbers), labels, spec)
        raise LocalnetError(f"The base model takes {spec.kind} input, but the data set's samples are of another kind.")

    def inputs(self, rows: torch.Tensor) -> torch.Tensor:
        """Convert rows to input: normalised images float32 (N, 3, size, size), or token ids int64 (N, length)."""
        if isinstance(self.spec, ImageInput):
            coloured = rows.expand(-1, self.spec.channels, -1, -1)
            return (coloured.float() / 255 - self.spec.mean) / self.spec.std
        return rows.long()


class Oracle:
    """Counts correct predictions over a whole test split, for a base model with and without submissions.

    Args:
        spec: the base model's description.
        base: the base model's weights.
        test: the samples.
    """

    def __init__(self, spec: ModelSpec, base: State, test: Samples) -> None:
        self._network = spec.network().eval()
        self._base = dict(base)
        self._test = test

    def baseline(self) -> int:
        """Return the number of correct predictions of the base model."""
        self._network.load_state_dict(self._base)
        return self._correct()

    @torch.no_grad()
    def with_submission(self, entries: State, convention: Convention, gradient_rate: float) -> int:
        """Return the number of correct predictions of the base model with a submission applied.

        Tensors that the submission lacks stay unchanged.

        Args:
            entries: the submission's tensors by name.
            convention: how the submission is applied. ``gradient`` makes one step of gradient descent on the
                parameters, as v1.0's validator does. ``delta`` adds every entry, including buffers, as v1.2's
                validator does.
            gradient_rate: the step size for ``gradient``.
        """
        self._network.load_state_dict(self._base)
        if convention == "gradient":
            for name, parameter in self._network.named_parameters():
                if name in entries:
                    parameter.sub_(gradient_rate * entries[name])
        else:
            for name, tensor in self._network.state_dict().items():
                if name in entries:
                    tensor.copy_(self._base[name] + entries[name])
        return self._correct()

    @torch.no_grad()
    def _correct(self) -> int:
        """Return the number of samples whose label has the largest logit."""
        correct, test = 0, self._test
        for rows, labels in zip(torch.split(test.rows, _BATCH), torch.split(test.labels, _BATCH), strict=True):
            predicted = self._network(test.inputs(rows)).argmax(1)
            correct += int((predicted == labels).sum())
        return correct


def shares(baseline: int, correct: Mapping[str, int]) -> dict[str, int]:
    """Return the share of each submission in basis points. The sum is 10000.

    Shares are proportional to the gain in correct predictions over the base model, rounded down. The remainder goes to
    the first submission whose share is not 0. If no submission gained, all get equal shares, and the first ones get
    one basis point more each until the remainder is used up.

    Args:
        baseline: the number of correct predictions of the base model.
        correct: the number of correct predictions with each valid submission; must not be empty.
    """
    gained = {name: max(0, count - baseline) for name, count in correct.items()}
    total = sum(gained.values())
    if not total:
        equal, remainder = divmod(BPS_DENOMINATOR, len(gained))
        return {name: equal + (place < remainder) for place, name in enumerate(gained)}
    found = {name: gain * BPS_DENOMINATOR // total for name, gain in gained.items()}
    first = next(name for name, share in found.items() if share)
    found[first] += BPS_DENOMINATOR - sum(found.values())
    return found
