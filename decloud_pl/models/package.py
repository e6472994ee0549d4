"""The model package: one safetensors file that says what it holds."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from decloud_pl.errors import ModelError
from decloud_pl.models.spec import ModelSpec

if TYPE_CHECKING:
    import torch

MAX_HEADER_BYTES = 4 << 20
MAX_TENSORS = 20_000


def save(path: Path, spec: ModelSpec, state: Mapping[str, torch.Tensor]) -> None:
    """Writes a package; the same spec and weights always give the same bytes, and so the same CID."""
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    save_file(tensors, str(path), metadata=spec.to_metadata())


def read_spec(path: Path) -> ModelSpec:
    """The description of a package, from its header alone.

    Raises:
        ModelError: not a package, or one that the schema refuses.
    """
    return ModelSpec.from_metadata(read_header(path).get("__metadata__"))


def read_header(path: Path) -> dict[str, dict[str, str]]:
    """A safetensors header, its size and number of tensors bounded.

    Raises:
        ModelError: not a safetensors file, or a header out of bounds.
    """
    with path.open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= MAX_HEADER_BYTES:
            raise ModelError("The file's header is missing or too large for a model.")
        data = file.read(length)
    try:
        header = json.loads(data)
    except (ValueError, RecursionError):
        header = None
    if len(data) != length or not isinstance(header, dict):
        raise ModelError("The file is not a safetensors file, or it is truncated.")
    if len(header) > MAX_TENSORS:
        raise ModelError(f"The file names {len(header):,} tensors; at most {MAX_TENSORS:,} are accepted.")
    return header
