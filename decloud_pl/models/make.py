"""Create model packages, with fresh weights or from a state dict."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decloud_pl.durable import appearing
from decloud_pl.errors import ModelError, first_line
from decloud_pl.models import package
from decloud_pl.models.base_model import BaseModel
from decloud_pl.models.quarantine.opening import BaseModelOpening, followed
from decloud_pl.models.registry import default_input
from decloud_pl.models.spec import ModelSpec
from decloud_pl.shortage import shortage

if TYPE_CHECKING:
    import torch


def make_spec(architecture: str, hyper_parameters: Mapping[str, Any], given: Mapping[str, Any]) -> ModelSpec:
    """Return the description of a model.

    ``given`` holds values for fields of the input specification, by field name. All other fields keep the defaults of
    the architecture.

    Raises:
        ModelError: ``given`` has a field that the architecture's kind of input lacks, or a value is out of range.
    """
    usual = default_input(architecture, hyper_parameters)
    fields = [field.name for field in dataclasses.fields(usual)]
    for name in given:
        if name not in fields:
            raise ModelError(
                f"The {usual.kind} input of {architecture} has no field {name!r}.", fix=f"Use {', '.join(fields)}."
            )
    spec = ModelSpec(architecture, dict(hyper_parameters), dataclasses.replace(usual, **given))
    return ModelSpec.from_metadata(spec.to_metadata())


def make_package(path: Path, spec: ModelSpec, *, weights: Path | None = None, seed: int = 0) -> BaseModel:
    """Write a model package and return its model.

    ``weights`` is a state dict file (``.pt``), which the quarantine process opens. Without ``weights``, the weights are
    random, and the same ``seed`` always gives the same file.

    Raises:
        ModelError: the weights or the hyper-parameters do not fit, or the network fails. No file is written.
        MachineShortage: this machine has too little memory.
    """
    if weights is not None:
        with appearing(path) as scratch:
            classes = BaseModelOpening(followed(weights), scratch, spec=spec).model().classes
    else:
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            state = spec.network().state_dict()
            classes = _checked(spec, state)
        package.save(path, spec, state)
    return BaseModel(spec, path, classes)


def _checked(spec: ModelSpec, state: Mapping[str, torch.Tensor]) -> int:
    """Check fresh weights as the quarantine checks a file, and return the number of classes."""
    from decloud_pl.models.checks import check_finite, count_classes

    try:
        check_finite(state)
        return count_classes(spec, state)
    except ModelError:
        raise
    except Exception as error:  # the network of a plug-in may raise anything
        missing = shortage(error)
        if missing is not None:
            raise missing from error
        raise ModelError(
            f"The network of {spec.architecture} fails: {type(error).__name__}: {first_line(error)}.",
            fix="Correct the plug-in.",
        ) from error
