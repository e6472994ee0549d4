"""Images as networks take them: resized, three channels, normalised; the same for training and scoring."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from decloud_pl.models.spec import ImageInput

_RESIZE_BATCH = 4096


def to_uint8(images: NDArray[np.uint8], spec: ImageInput) -> torch.Tensor:
    """A whole split at the network's size, still bytes.

    Args:
        images: (N, H, W) grey or (N, H, W, 3).
        spec: the size to resize to (bilinear with antialiasing, as PIL does it).

    Returns:
        uint8 (N, C, size, size) where C is 1 for grey images: the other channels are copies, made per batch.
    """
    grey = images.ndim == 3
    whole = torch.from_numpy(np.ascontiguousarray(images))
    whole = whole.unsqueeze(1) if grey else whole.permute(0, 3, 1, 2)
    if whole.shape[-2:] == (spec.size, spec.size):
        return whole
    # Resizing works in floats, four times the bytes, so it goes piece by piece.
    pieces = [
        functional.interpolate(piece, (spec.size, spec.size), mode="bilinear", antialias=True)
        for piece in torch.split(whole, _RESIZE_BATCH)
    ]
    return torch.cat(pieces)


def normalise(batch: torch.Tensor, spec: ImageInput, *, channels_last: bool) -> torch.Tensor:
    """Bytes (N, C, H, W) to float32 (N, 3, H, W): ``(value / 255 − mean) / std``."""
    batch = batch.expand(-1, spec.channels, -1, -1)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    scaled = batch.to(torch.float32, memory_format=layout)
    return scaled.mul_(1 / (255 * spec.std)).sub_(spec.mean / spec.std)
