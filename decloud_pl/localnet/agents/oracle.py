"""What the public validator computes, written from the protocol alone.

It shares no code with the trainer's own scoring (`decloud_pl.train`): a mistake there must not agree with itself.
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
from decloud_pl.models.spec import ImageInput, InputSpec, ModelSpec

State = Mapping[str, torch.Tensor]

_BATCH = 256


@dataclass(frozen=True)
class Samples:
    """A whole split in a compact form of what a network takes.

    Attributes:
        rows: images uint8 (N, 1 or 3, size, size), or token numbers int32 (N, length).
        labels: int64 (N,).
        spec: the network's input.
    """

    rows: torch.Tensor
    labels: torch.Tensor
    spec: InputSpec

    @classmethod
    def of(cls, split: Split, spec: InputSpec) -> Samples:
        """The samples of a split, images resized bilinearly with antialiasing.

        Raises:
            LocalnetError: the network takes samples of another kind.
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
        raise LocalnetError(f"The base model takes {spec.kind} input, the data set's samples are of another kind.")

    def inputs(self, rows: torch.Tensor) -> torch.Tensor:
        """Images float32 (N, 3, size, size), normalised; or token numbers int64 (N, length)."""
        if isinstance(self.spec, ImageInput):
            coloured = rows.expand(-1, self.spec.channels, -1, -1)
            return (coloured.float() / 255 - self.spec.mean) / self.spec.std
        return rows.long()


class Oracle:
    """Counts the correct predictions of a base model, as it is and with submissions, over a whole test split.

    Args:
        spec: of the base model.
        base: its weights.
        test: the samples.
    """

    def __init__(self, spec: ModelSpec, base: State, test: Samples) -> None:
        self._network = spec.network().eval()
        self._base = dict(base)
        self._test = test

    def baseline(self) -> int:
        """Of the base model."""
        self._network.load_state_dict(self._base)
        return self._correct()

    @torch.no_grad()
    def with_submission(self, entries: State, convention: Convention, gradient_rate: float) -> int:
        """Of the base model changed by a submission; names that it lacks stay as they are.

        ``gradient`` is one step of gradient descent on the parameters, as the validator of v1.0 takes it;
        ``delta`` adds every entry, those of buffers too, as the validator of v1.2 does.
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
        """Samples whose largest logit is the label's."""
        correct, test = 0, self._test
        for rows, labels in zip(torch.split(test.rows, _BATCH), torch.split(test.labels, _BATCH), strict=True):
            predicted = self._network(test.inputs(rows)).argmax(1)
            correct += int((predicted == labels).sum())
        return correct


def shares(baseline: int, correct: Mapping[str, int]) -> dict[str, int]:
    """Basis points by submission, which sum to 10000.

    In proportion to the predictions gained over the base model, rounded down; the remainder goes to the first that has
    a share. Where none gained all share equally, and the remainder goes one by one to the first.

    Args:
        baseline: correct predictions of the base model.
        correct: the same with each valid submission, of which there is at least one.
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
