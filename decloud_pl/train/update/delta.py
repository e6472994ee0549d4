"""Encode the difference between a trained model and its base model in the form that a validator reads.

| convention | entry of a parameter | the validator's step |
|---|---|---|
| ``delta`` | trained − base | base + entry |
| ``gradient`` | (base − trained) / η | base − η × entry |

An entry is a tensor with the name of its parameter or buffer. The entry of a floating-point buffer is computed like
the entry of a parameter, in float32. In both conventions, the entry of an integer buffer is trained − base.

``top_k`` is the share of the update's floating-point numbers to select: those with the largest absolute values. If a
sparse (COO) tensor with only the selected numbers takes less space than the dense entry, the entry is written as this
sparse tensor. Otherwise the entry is written dense, with all its numbers.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from pathlib import Path

import torch

from decloud_pl.domain import Convention, Encoding, UpdateDtype
from decloud_pl.durable import write_atomically
from decloud_pl.errors import TrainingDiverged, TrainingError
from decloud_pl.store.ipfs.cid import DEFAULT_PROFILE
from decloud_pl.store.ipfs.unixfs import cid_of_file

State = Mapping[str, torch.Tensor]

DTYPES: Mapping[UpdateDtype, torch.dtype] = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
_LARGEST_HALF = 65_504.0
_DEFAULT_ENCODING = Encoding()
_INDEX_BYTES = 8


def encode(
    base: State,
    trained: State,
    *,
    convention: Convention,
    gradient_rate: float,
    encoding: Encoding = _DEFAULT_ENCODING,
) -> dict[str, torch.Tensor]:
    """Return the entries of an update, computed from the fetched base model and the trained state.

    Raises:
        TrainingDiverged: a weight is not finite.
        TrainingError: the trained state has other names or shapes than the base model.
    """
    if set(base) != set(trained):
        raise TrainingError("The trained model has different tensors than the base model.")
    entries: dict[str, torch.Tensor] = {}
    for name, start in base.items():
        end = trained[name].detach().cpu()
        if start.shape != end.shape:
            raise TrainingError(f"The tensor {name} changed its shape in training.")
        if not start.dtype.is_floating_point:
            entries[name] = end.to(torch.int64) - start.to(torch.int64)
            continue
        difference = end.float() - start.float()
        if not bool(torch.isfinite(difference).all()):
            raise TrainingDiverged(
                f"The training diverged: {name} has values that are not finite.", fix="Lower learning_rate."
            )
        entries[name] = difference if convention == "delta" else -difference / gradient_rate
    least = _least_to_keep(entries, encoding.top_k)
    return {
        name: _written(entry, encoding, least) if entry.dtype.is_floating_point else entry
        for name, entry in entries.items()
    }


def _least_to_keep(entries: State, share: float) -> float:
    """Return the threshold of ``top_k``: a number is selected if its absolute value is at least this threshold.

    The threshold selects about the fraction ``share`` (0 to 1) of the update's floating-point numbers. If ``share`` is
    0, the threshold is 0, which selects all numbers.
    """
    if not share:
        return 0.0
    sizes = torch.cat([entry.abs().flatten() for entry in entries.values() if entry.dtype.is_floating_point])
    if not sizes.numel():
        return 0.0
    kept = min(sizes.numel(), max(1, round(share * sizes.numel())))
    return float(sizes.kthvalue(sizes.numel() - kept + 1).values)


def _written(entry: torch.Tensor, encoding: Encoding, least: float) -> torch.Tensor:
    fits = encoding.dtype != "float16" or not entry.numel() or float(entry.abs().max()) <= _LARGEST_HALF
    written = entry.to(DTYPES[encoding.dtype]) if fits else entry
    if not encoding.top_k or not entry.ndim:
        return written
    # The dtype may round an entry to zero. It need not be written.
    kept = (entry.abs() >= least) & (written != 0)
    width = written.element_size()
    if int(kept.sum()) * (_INDEX_BYTES * entry.ndim + width) >= written.numel() * width:
        return written
    return written.masked_fill(~kept, 0).to_sparse()


def apply(
    base: State,
    entries: State,
    *,
    convention: Convention,
    gradient_rate: float,
    parameters: Collection[str] | None = None,
) -> dict[str, torch.Tensor]:
    """Apply the entries of an update to the base model, and return the state that a validator scores.

    Args:
        base: the base model.
        entries: the update's entries, dense or sparse. Tensors without an entry keep the base model's value.
        convention: how to apply the entries.
        gradient_rate: η, for the ``gradient`` convention.
        parameters: names of the tensors to change; None changes all tensors. The public validator of v1.0 uses the
            ``gradient`` convention and changes only the model's parameters, not its buffers.
    """
    result: dict[str, torch.Tensor] = {}
    for name, start in base.items():
        entry = entries.get(name)
        if entry is None or (parameters is not None and name not in parameters):
            result[name] = start.clone()
            continue
        dense = entry.to_dense() if entry.layout is not torch.strided else entry
        if not start.dtype.is_floating_point:
            result[name] = start + dense.to(start.dtype)
        elif convention == "delta":
            result[name] = (start.float() + dense.float()).to(start.dtype)
        else:
            result[name] = (start.float() - gradient_rate * dense.float()).to(start.dtype)
    return result


def write(path: Path, entries: State) -> tuple[str, str, int]:
    """Write an update file atomically and durably.

    Returns:
        The CID, the profile of that CID, and the size in bytes.
    """
    # We save to a buffer first, because torch stores the file name, here that of the scratch file, in the file.
    buffer = io.BytesIO()
    torch.save({name: _plain(tensor) for name, tensor in entries.items()}, buffer)
    write_atomically(path, buffer.getvalue())
    return str(cid_of_file(path)), DEFAULT_PROFILE, path.stat().st_size


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous() if tensor.layout is torch.strided else tensor
