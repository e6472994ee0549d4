"""What a base model is: architecture, hyper-parameters, input and weights. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from decloud_pl.errors import ModelError

FORMAT_VERSION = "1"
_LONGEST_FIELD = 65_536


@dataclass(frozen=True, slots=True)
class ImageInput:
    """How images are presented: ``size`` pixels square, normalised per channel with ``mean`` and ``std``."""

    size: int = 32
    channels: int = 3
    mean: float = 0.5
    std: float = 0.5


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Everything but the weights."""

    architecture: str
    hyper_parameters: dict[str, Any]
    input: ImageInput = field(default_factory=ImageInput)

    def to_metadata(self) -> dict[str, str]:
        """The metadata of a package file."""
        return {
            "format_version": FORMAT_VERSION,
            "architecture": self.architecture,
            "hyper_parameters": json.dumps(self.hyper_parameters, sort_keys=True),
            "input": json.dumps({"kind": "image", **asdict(self.input)}, sort_keys=True),
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str] | None) -> ModelSpec:
        """Checks and reads a package's metadata.

        Raises:
            ModelError: a key that is missing, too long or of the wrong kind; an unknown format.
        """
        if metadata is None:
            raise ModelError("The file has no model description.", fix="Write it with decloud_pl.models.package.save.")
        if metadata.get("format_version") != FORMAT_VERSION:
            raise ModelError(
                f"The model package has format {str(metadata.get('format_version'))[:20]!r}, "
                f"this program knows {FORMAT_VERSION}."
            )
        architecture = metadata.get("architecture")
        if not architecture or len(architecture) > 100:
            raise ModelError("The model package names no architecture.")
        hyper_parameters = _object(metadata, "hyper_parameters")
        shape = _object(metadata, "input")
        if shape.pop("kind", None) != "image":
            raise ModelError("The model package's input is of an unknown kind.", fix="Known: image.")
        try:
            image = ImageInput(**shape)
        except TypeError:
            raise ModelError("The model package's input specification has unknown keys.") from None
        numbers = (image.mean, image.std)
        if (
            type(image.size) is not int
            or not 8 <= image.size <= 1024
            or image.channels != 3
            or not all(isinstance(number, (int, float)) and abs(number) < 1e6 for number in numbers)
            or image.std <= 0
        ):
            raise ModelError("The model package's input specification is out of range.")
        return cls(architecture, hyper_parameters, image)


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A base model that passed quarantine; ``weights`` is a safetensors file that is safe to open."""

    spec: ModelSpec
    weights: Path


def _object(metadata: Mapping[str, str], key: str) -> dict[str, Any]:
    text = metadata.get(key, "")
    if len(text) > _LONGEST_FIELD:
        raise ModelError(f"The model package's {key} is too long.")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ModelError(f"The model package's {key} is not a JSON object.")
    return value
