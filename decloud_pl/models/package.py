"""The model package: one safetensors file with a model's weights and its description."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decloud_pl.durable import appearing
from decloud_pl.errors import ModelError
from decloud_pl.models.spec import ModelSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

MAX_HEADER_BYTES = 4 << 20
MAX_TENSORS = 20_000


def save(path: str | Path, spec: ModelSpec, weights: nn.Module | Mapping[str, torch.Tensor]) -> None:
    """Write a package atomically. The same spec and weights always give the same bytes and the same CID.

    Args:
        path: the file.
        spec: the description of the model.
        weights: a network or its state dict.

    Raises:
        ModelError: the spec is invalid, or the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file
    from torch import nn

    path = Path(path)
    state = weights.state_dict() if isinstance(weights, nn.Module) else weights
    metadata = spec.to_metadata()
    ModelSpec.from_metadata(metadata)
    tensors: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, tensor in state.items():
        plain = tensor.detach().cpu().contiguous()
        memory = plain.untyped_storage().data_ptr()
        # safetensors refuses tensors that share memory.
        tensors[name] = plain.clone() if memory in seen else plain
        seen.add(memory)
    try:
        with appearing(path) as scratch:
            save_file(tensors, str(scratch), metadata=metadata)
            _sort_metadata(scratch)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"{path} cannot be written: {error}.", fix="Choose another folder, or free disk space."
        ) from error


def _sort_metadata(path: Path) -> None:
    """Sort the header's metadata, because safetensors writes it in a different order each time."""
    header = read_header(path)
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    data = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    with path.open("r+b") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        if len(data) > length:
            raise ModelError(
                "A tensor's name has an unusual character, so the sorted header of the model package does not fit.",
                fix="Use only letters, digits, dots and underscores in the names of tensors.",
            )
        file.write(data.ljust(length))


def load(path: Path) -> tuple[ModelSpec, dict[str, torch.Tensor]]:
    """Return the description and the weights of your own package. Use `quarantine` for a package from a stranger.

    Raises:
        ModelError: the file is damaged or not a package.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return read_spec(path), load_file(str(path))
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.", fix="Get the file again.") from error
    except SafetensorError:
        raise ModelError(f"The model package {path} is truncated or damaged.", fix="Write it again.") from None


def read_spec(path: Path) -> ModelSpec:
    """Return the description of a package, from its header alone.

    Raises:
        ModelError: the file is not a package, or its description is invalid.
    """
    return ModelSpec.from_metadata(read_header(path).get("__metadata__"))


def read_header(path: Path) -> dict[str, Any]:
    """Return the header of a safetensors file.

    Raises:
        ModelError: the file is not a safetensors file, its header is too large, or it has too many tensors.
    """
    with path.open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= MAX_HEADER_BYTES:
            raise ModelError("The file is neither a model package nor a file written by torch.save.")
        data = file.read(length)
    try:
        header = json.loads(data)
    except (ValueError, RecursionError):
        header = None
    if len(data) != length or not isinstance(header, dict):
        raise ModelError("The file is not a safetensors file, or it is truncated.")
    if len(header) > MAX_TENSORS:
        raise ModelError(f"The file has {len(header):,} tensors; at most {MAX_TENSORS:,} are accepted.")
    return header
