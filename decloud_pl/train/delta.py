"""Updates: what a trained model differs by, in the form a validator takes.

| convention | entry of a parameter | the validator's step |
|---|---|---|
| ``delta`` | trained − base | base + entry |
| ``gradient`` | (base − trained) / η | base − η × entry |

Buffers travel under their names in both; integer buffers as the difference. Sums are made in float32.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from pathlib import Path

import torch

from decloud_pl.domain import Convention
from decloud_pl.errors import TrainingError
from decloud_pl.store.cid import DEFAULT_PROFILE
from decloud_pl.store.unixfs import CidWriter
from decloud_pl.train.plan import UpdateDtype

State = Mapping[str, torch.Tensor]

DTYPES: Mapping[UpdateDtype, torch.dtype] = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
_LARGEST_HALF = 65_504.0


def encode(
    base: State, trained: State, *, convention: Convention, gradient_rate: float, dtype: UpdateDtype = "float16"
) -> dict[str, torch.Tensor]:
    """The entries of a submission.

    Args:
        base: the fetched base model.
        trained: the same names and shapes after training.
        convention: what entries mean.
        gradient_rate: η, for the ``gradient`` convention.
        dtype: of floating-point entries. An entry that float16 cannot hold is kept in float32.

    Raises:
        TrainingError: other names or shapes, or weights that are not finite.
    """
    if set(base) != set(trained):
        raise TrainingError("The trained model has other tensors than the base model.")
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
            raise TrainingError(
                f"The training diverged: {name} holds values that are not finite.", fix="Lower learning_rate."
            )
        entry = difference if convention == "delta" else -difference / gradient_rate
        fits = dtype != "float16" or not entry.numel() or float(entry.abs().max()) <= _LARGEST_HALF
        entries[name] = entry.to(DTYPES[dtype]) if fits else entry
    return entries


def apply(
    base: State,
    entries: State,
    *,
    convention: Convention,
    gradient_rate: float,
    parameters: Collection[str] | None = None,
) -> dict[str, torch.Tensor]:
    """The state a validator scores.

    Args:
        base: the base model.
        entries: a submission's, dense or sparse; names that are missing stay as they are.
        convention: what entries mean.
        gradient_rate: η, for the ``gradient`` convention.
        parameters: the names to change; the public validator changes parameters only. None changes all.
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
    """Writes a submission file atomically and durably.

    Returns:
        Its CID, the profile of that CID, and its size in bytes.
    """
    # torch.save seeks, so it cannot write into a stream that is being hashed.
    buffer = io.BytesIO()
    torch.save({name: tensor.contiguous() for name, tensor in entries.items()}, buffer)
    with CidWriter(path, DEFAULT_PROFILE) as writer:
        writer.write(buffer.getbuffer())
        cid = writer.finish()
        writer.commit()
        return str(cid), DEFAULT_PROFILE, writer.size
