"""Image files of any size, decoded when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from decloud_pl.errors import DatasetError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """N image files; stands where an array of images would, without holding their pixels."""

    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, indices: NDArray[np.int64]) -> ImageFiles:
        return ImageFiles(tuple(self.paths[index] for index in indices))

    def read(self, size: int) -> NDArray[np.uint8]:
        """The pixels, (N, size, size, 3): resized bilinearly with antialiasing, whatever the files' sides.

        Raises:
            DatasetError: a file that is missing, damaged, or implausibly large.
        """
        pixels = np.empty((len(self.paths), size, size, 3), np.uint8)
        for index, path in enumerate(self.paths):
            pixels[index] = _read(path, size)
        return pixels


def _read(path: Path, size: int) -> NDArray[np.uint8]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            small = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DatasetError(
            f"{path} is not an image that can be read.", fix="Get the file again or take it away."
        ) from error
    return np.asarray(small, np.uint8)
