"""Architectures by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from decloud_pl.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

HyperParameters = Mapping[str, object]


def _simple_cnn(**hyper_parameters: int) -> nn.Module:
    from decloud_pl.models.simple_cnn import SimpleCNN

    return SimpleCNN(**hyper_parameters)


ARCHITECTURES: Mapping[str, Callable[..., nn.Module]] = {"simple_cnn": _simple_cnn}
"""Builders by name; each takes its hyper-parameters as keywords."""


def build(architecture: str, hyper_parameters: HyperParameters) -> nn.Module:
    """A freshly initialised model.

    Raises:
        ModelError: an unknown architecture, or hyper-parameters it does not take.
    """
    builder = ARCHITECTURES.get(architecture)
    if builder is None:
        raise ModelError(
            f"There is no architecture {architecture!r}.", fix=f"Known: {', '.join(sorted(ARCHITECTURES))}."
        )
    try:
        return builder(**hyper_parameters)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"The architecture {architecture} cannot be built with {dict(hyper_parameters)}.",
            fix="Correct its hyper-parameters.",
        ) from error
