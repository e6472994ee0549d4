"""The description of a model: architecture, hyper-parameters and input.

This module does not import torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from decloud_pl.errors import ModelError
from decloud_pl.models.inputs import MAX_TEXT_LENGTH, MAX_VOCABULARY, ImageInput, InputSpec, TextInput
from decloud_pl.models.registry import build
from decloud_pl.models.tokenizer import TOKENIZERS

if TYPE_CHECKING:
    from torch import nn

FORMAT_VERSION = "1"
_LONGEST_FIELD = 65_536
_LONGEST_ARCHITECTURE = 100


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The description of a model without its weights.

    Attributes:
        architecture: the name of the architecture.
        hyper_parameters: keyword arguments for the architecture, for example ``num_classes``.
        input: the format of the network's input.
    """

    architecture: str
    hyper_parameters: dict[str, Any]
    input: InputSpec = field(default_factory=ImageInput)

    def network(self) -> nn.Module:
        """Return a network of this architecture with fresh weights.

        Raises:
            ModelError: the architecture is unknown or does not accept the hyper-parameters.
        """
        return build(self.architecture, self.hyper_parameters)

    def to_metadata(self) -> dict[str, str]:
        """Return this description as the metadata of a package."""
        return {
            "format_version": FORMAT_VERSION,
            "architecture": self.architecture,
            "hyper_parameters": json.dumps(self.hyper_parameters, sort_keys=True),
            "input": json.dumps({"kind": self.input.kind, **asdict(self.input)}, sort_keys=True),
        }

    @classmethod
    def from_metadata(cls, metadata: object) -> ModelSpec:
        """Check and read a package's metadata.

        Raises:
            ModelError: a value is missing, too long, out of range or of the wrong type, or the format is unknown.
        """
        if not isinstance(metadata, Mapping):
            raise ModelError("The file has no model description.", fix="Write it with decloud_pl.save_model.")
        version = _text(metadata, "format_version")
        if version != FORMAT_VERSION:
            raise ModelError(
                f"The model package has format {version[:20]!r}, but this program supports {FORMAT_VERSION!r}.",
                fix="Update decloud_pl.",
            )
        architecture = _text(metadata, "architecture")
        if len(architecture) > _LONGEST_ARCHITECTURE:
            raise ModelError(
                f"The model package's architecture has a name of more than {_LONGEST_ARCHITECTURE} characters."
            )
        return cls(architecture, _object(metadata, "hyper_parameters"), _input(_object(metadata, "input")))


def _input(given: dict[str, Any]) -> InputSpec:
    kind = given.pop("kind", None)
    known: dict[str, type[ImageInput] | type[TextInput]] = {"image": ImageInput, "text": TextInput}
    if not isinstance(kind, str) or kind not in known:
        raise ModelError("The model package's input has an unknown kind.", fix="Use image or text.")
    try:
        specification = known[kind](**given)
    except TypeError:
        raise ModelError(
            "The model package's input specification has unknown keys.",
            fix=f"Use only {', '.join(entry.name for entry in fields(known[kind]))}.",
        ) from None
    if isinstance(specification, ImageInput):
        _check_image(specification)
    else:
        _check_text(specification)
    return specification


def _check_image(image: ImageInput) -> None:
    if type(image.size) is not int or not 8 <= image.size <= 1024 or image.channels != 3:
        raise ModelError("The model package's input must have 8 to 1024 pixels per side and 3 channels.")
    if not _is_number(image.mean, -1e3, 1e3) or not _is_number(image.std, 1e-3, 1e3):
        raise ModelError("The model package's mean must be from -1000 to 1000, and its std from 0.001 to 1000.")


def _check_text(text: TextInput) -> None:
    if text.tokenizer not in TOKENIZERS:
        raise ModelError("The model package's tokenizer is unknown.", fix=f"Known: {', '.join(TOKENIZERS)}.")
    if type(text.vocabulary) is not int or not 2 <= text.vocabulary <= MAX_VOCABULARY:
        raise ModelError(f"The model package's vocabulary must be a whole number from 2 to {MAX_VOCABULARY:,}.")
    if type(text.length) is not int or not 1 <= text.length <= MAX_TEXT_LENGTH:
        raise ModelError(
            f"The model package's text length must be a whole number of tokens from 1 to {MAX_TEXT_LENGTH:,}."
        )


def _is_number(value: object, low: float, high: float) -> bool:
    # NaN fails both comparisons.
    return type(value) in (int, float) and low <= value <= high  # type: ignore[operator]  # checked by the first test


def _text(metadata: Mapping[str, object], key: str) -> str:
    value = metadata.get(key)
    if not isinstance(value, str) or not value:
        raise ModelError(f"The model package has no {key}.")
    if len(value) > _LONGEST_FIELD:
        raise ModelError(f"The model package's {key} has more than {_LONGEST_FIELD:,} characters.")
    return value


def _object(metadata: Mapping[str, object], key: str) -> dict[str, Any]:
    text = _text(metadata, key)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ModelError(f"The model package's {key} is not a JSON object.")
    return value
