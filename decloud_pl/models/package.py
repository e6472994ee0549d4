"""The model package: one safetensors file that says what it holds."""

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
    """Writes a package atomically; the same spec and weights always give the same bytes, and so the same CID.

    Args:
        path: the file.
        spec: what the model is.
        weights: a network or its state dict.

    Raises:
        ModelError: a spec that `read_spec` would refuse, or a file that cannot be written.
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
        raise ModelError(f"{path} cannot be written ({error}).", fix="Choose another place, or make room.") from error


def _sort_metadata(path: Path) -> None:
    """Puts the header's metadata in order: safetensors writes it in another one each time."""
    header = read_header(path)
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    data = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    with path.open("r+b") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        if len(data) > length:
            raise ModelError("The model package's header could not be put in order.", fix="Use plain tensor names.")
        file.write(data.ljust(length))


def load(path: Path) -> tuple[ModelSpec, dict[str, torch.Tensor]]:
    """The description and the weights of a package of one's own; one from a stranger belongs into `quarantine`.

    Raises:
        ModelError: not a package, or a damaged one.
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
    """The description of a package, from its header alone.

    Raises:
        ModelError: not a package, or one that the schema refuses.
    """
    return ModelSpec.from_metadata(read_header(path).get("__metadata__"))


def read_header(path: Path) -> dict[str, Any]:
    """A safetensors header, its size and number of tensors bounded.

    Raises:
        ModelError: not a safetensors file, or a header out of bounds.
    """
    with path.open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= MAX_HEADER_BYTES:
            raise ModelError("The file is neither a model package nor one that torch.save wrote.")
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
