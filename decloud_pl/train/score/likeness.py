"""Compare updates with each other.

Each update is reduced to a sample of its entries, so the updates need not be in memory at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

_SAMPLE = 1 << 16
"""The number of entries per update. The error of a cosine is about 1 / √65536, 0.4 %, where the updates differ."""
_SEED = 20_260_107


def sketch(base: Mapping[str, torch.Tensor], entries: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return a sample of about 65,536 of an update's values, float32. If the update has fewer values, return all.

    The positions of the sample depend only on the base model, so the samples of two updates can be compared.

    Args:
        base: the base model.
        entries: the update's entries, dense or sparse. A missing tensor counts as zeros.
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
    """Return the positions to sample in a tensor of ``number`` entries, int64. The model has ``total`` entries."""
    if total <= _SAMPLE:
        return torch.arange(number)
    count = min(number, -(-number * _SAMPLE // total))
    return torch.randint(number, (count,), generator=torch.Generator().manual_seed(_SEED))


def cosines(sketches: Sequence[torch.Tensor]) -> list[list[float]]:
    """Return the cosine, -1 to 1, of each pair of sketches, as a square matrix.

    The cosine is 1 if both sketches are zero, and 0 if only one of them is zero.
    """
    return [[_cosine(one.double(), other.double()) for other in sketches] for one in sketches]


def _cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    if torch.equal(one, other):
        return 1.0
    norms = float(one.norm() * other.norm())
    return max(-1.0, min(1.0, float(one @ other) / norms)) if norms > 0 else 0.0
