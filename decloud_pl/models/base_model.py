"""A base model that passed the quarantine. This module does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from decloud_pl.models.package import load
from decloud_pl.models.spec import ModelSpec

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A base model that passed the quarantine.

    Attributes:
        spec: the description of its network and input.
        weights: the path of a model package that is safe to open.
        classes: number of classes. The outputs are logits (N, classes).
    """

    spec: ModelSpec
    weights: Path
    classes: int

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Read the weights from the package. Each call reads the file again, because callers may change the tensors.

        Raises:
            ModelError: the package is missing or damaged.
        """
        return load(self.weights)[1]

    def network(self) -> nn.Module:
        """Return a new network with these weights.

        Raises:
            ModelError: the package is missing or damaged.
        """
        network = self.spec.network()
        network.load_state_dict(self.state_dict())
        return network


def why_unfit(model: BaseModel, *, kind: str, classes: int | None, name: str) -> str:
    """Return why a base model cannot train on a data set; empty if it can.

    Args:
        model: the base model.
        kind: the kind of the data set's samples, ``image`` or ``text``.
        classes: the data set's number of classes; None if unknown.
        name: the data set's name.
    """
    if model.spec.input.kind != kind:
        return f"the base model takes {model.spec.input.kind} input, but the data set {name} has {kind} samples"
    if classes is not None and model.classes < classes:
        return f"the base model distinguishes {model.classes} classes, but the data set {name} has {classes}"
    return ""
