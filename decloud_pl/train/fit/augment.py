"""Random changes to training images. The labels stay valid. The changes run on the device of the batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from decloud_pl.errors import ConfigError

_GRAY = 128


@dataclass(frozen=True)
class Augmentation:
    """The random changes to make to each training image.

    Attributes:
        flip: mirror each image in every other epoch: half of the images in even epochs, the other half in odd epochs.
            Unlike with random mirroring, each image alternates from epoch to epoch
            (https://arxiv.org/abs/2404.00498).
        shift: move each image by up to this many pixels in each direction. Reflections fill the edges.
        cutout: paint a gray square into each image, with sides of this many pixels (https://arxiv.org/abs/1708.04552).
    """

    flip: bool = False
    shift: int = 0
    cutout: int = 0

    @classmethod
    def of(cls, node: Mapping[str, Any] | None) -> Augmentation:
        """Create an `Augmentation` from the setting ``datamodule.augment``.

        Raises:
            ConfigError: a key is unknown, or a value is invalid.
        """
        try:
            found = cls(**(node or {}))
        except TypeError as error:
            keys = ", ".join(sorted(map(str, node or {})))
            raise ConfigError(
                f"datamodule.augment has the keys {keys}, but only flip, shift and cutout are allowed.",
                fix="Remove the others.",
            ) from error
        if not isinstance(found.flip, bool):
            raise ConfigError(f"datamodule.augment.flip must be true or false (got {found.flip!r}).")
        for name in ("shift", "cutout"):
            value = getattr(found, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise ConfigError(f"datamodule.augment.{name} must be a whole number of at least 0 (got {value!r}).")
        return found

    def __bool__(self) -> bool:
        return bool(self.flip or self.shift or self.cutout)

    def __call__(self, packed: torch.Tensor, indices: torch.Tensor, epoch: int) -> torch.Tensor:
        """Return a batch of images with the random changes.

        Args:
            packed: the images, uint8 (N, C, size, size).
            indices: the images' numbers in the data set, int64 (N,). They determine which images are mirrored.
            epoch: the number of the epoch.
        """
        samples, size, device = len(packed), packed.shape[-1], packed.device
        line = torch.arange(size, device=device)
        rows = columns = line.expand(samples, size)
        if self.flip:
            mirrored = (_coins(indices) + epoch) % 2 == 1
            columns = torch.where(mirrored[:, None], size - 1 - columns, columns)
        if self.shift:
            most = min(self.shift, size - 1)
            down, right = torch.randint(-most, most + 1, (2, samples, 1), device=device)
            rows, columns = _reflected(rows + down, size), _reflected(columns + right, size)
        if self.flip or self.shift:
            numbers = torch.arange(samples, device=device)[:, None, None]
            # Indexing puts the channels last.
            packed = packed.permute(0, 2, 3, 1)[numbers, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
        if self.cutout:
            top, left = torch.randint(0, size, (2, samples, 1), device=device) - self.cutout // 2
            inside = [(line >= start) & (line < start + self.cutout) for start in (top, left)]
            packed = packed.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], _GRAY)
        return packed


def _coins(indices: torch.Tensor) -> torch.Tensor:
    """Map each index to 0 or 1. The same index always gets the same value, and about half of the indices get 1.

    This is a multiplicative hash of 32 bits.
    """
    return (indices * 2_654_435_761 >> 15) & 1


def _reflected(positions: torch.Tensor, size: int) -> torch.Tensor:
    return (size - 1) - ((size - 1) - positions.abs()).abs()
