"""Compare updates with each other, without all of them in memory: each is reduced to a sample of its entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

_SAMPLE = 1 << 16
"""The number of entries per update. The error of a cosine is about 1 / √65536, 0.4 %, where the updates differ."""
_SEED = 20_260_107


def sketch(base: Mapping[str, torch.Tensor], entries: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the update's values at the same places for every update of a base model, float32 (at most 65,536).

    Args:
        base: the base model.
        entries: of an update, dense or sparse; a missing tensor counts as zeros.
    """
    numbers = {name: tensor.numel() for name, tensor in base.items() if tensor.dtype.is_floating_point}
    total = sum(numbers.values())
    parts = []
    for name, number in numbers.items():
        places = _places(number, total)
        entry = entries.get(name)
        if entry is None:
            parts.append(torch.zeros(len(places)))
        else:
            parts.append(entry.to_dense().reshape(-1)[places].float())
    return torch.cat(parts) if parts else torch.zeros(0)


def _places(number: int, total: int) -> torch.Tensor:
    """Return the places to read in a tensor of ``number`` entries: int64."""
    if total <= _SAMPLE:
        return torch.arange(number)
    count = min(number, -(-number * _SAMPLE // total))
    return torch.randint(number, (count,), generator=torch.Generator().manual_seed(_SEED))


def cosines(sketches: Sequence[torch.Tensor]) -> list[list[float]]:
    """Return the cosine of each pair, -1 to 1; 1 for two updates of zeros, and 0 for one such update."""
    return [[_cosine(one.double(), other.double()) for other in sketches] for one in sketches]


def _cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    if torch.equal(one, other):
        return 1.0
    norms = float(one.norm() * other.norm())
    return max(-1.0, min(1.0, float(one @ other) / norms)) if norms > 0 else 0.0
