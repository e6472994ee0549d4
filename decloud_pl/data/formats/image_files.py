"""Image files of any size, decoded when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from decloud_pl.errors import DatasetError

if TYPE_CHECKING:
    from PIL import Image

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

        Files are opened like torchvision's ``pil_loader`` does: an EXIF orientation is not applied, transparency is
        dropped. Unlike there, grey of 16 bits is scaled to 8.

        Raises:
            DatasetError: a file that is missing, damaged, implausibly large, or whose pixels have no known range.
        """
        pixels = np.empty((len(self.paths), size, size, 3), np.uint8)
        for index, path in enumerate(self.paths):
            pixels[index] = _read(path, size)
        return pixels


def _read(path: Path, size: int) -> NDArray[np.uint8]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            small = _in_colour(path, image).resize((size, size), Image.Resampling.BILINEAR)
    except Image.DecompressionBombError as error:
        raise DatasetError(
            f"{path} is too large: it has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels.",
            fix=f"Make it smaller: the network sees {size}×{size} of them.",
        ) from error
    except (OSError, ValueError, SyntaxError) as error:
        raise DatasetError(
            f"{path} is not an image that can be read.", fix="Get the file again or take it away."
        ) from error
    return np.asarray(small, np.uint8)


def _in_colour(path: Path, image: Image.Image) -> Image.Image:
    """Eight bits per channel. Pillow would cut larger values off, and so make a ramp white."""
    from PIL import Image

    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        kind = "whole numbers of 32 bits" if image.mode == "I" else "numbers with a fraction"
        raise DatasetError(
            f"{path} has pixels that are {kind}, of which nothing says what is white.",
            fix="Save it with 8 or 16 bits per pixel.",
        )
    image.info.pop("transparency", None)  # it would be dropped with a warning
    return image.convert("RGB")
