"""Image files of any size, decoded on demand."""

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
    """N image files. An `ImageSplit` can hold this instead of an array, so that pixels are loaded on demand."""

    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, indices: NDArray[np.int64]) -> ImageFiles:
        return ImageFiles(tuple(self.paths[index] for index in indices))

    def read(self, size: int) -> NDArray[np.uint8]:
        """Return the pixels, (N, size, size, 3), resized bilinearly with antialiasing. The aspect ratio is not kept.

        Files are opened like in torchvision's ``pil_loader``: EXIF orientation is not applied, and transparency is
        dropped. Unlike in ``pil_loader``, 16-bit gray is scaled to 8 bits.

        Raises:
            DatasetError: a file is missing, damaged or implausibly large, or the range of its pixels is unknown.
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
            fix=f"Make the image smaller. The model uses {size}×{size} pixels.",
        ) from error
    except (OSError, ValueError, SyntaxError) as error:
        raise DatasetError(
            f"{path} is damaged, or is not a supported image.", fix="Get the file again or remove it."
        ) from error
    return np.asarray(small, np.uint8)


def _in_colour(path: Path, image: Image.Image) -> Image.Image:
    """Convert an image to RGB with 8 bits per channel. Scale 16-bit values, which Pillow would clip to white."""
    from PIL import Image

    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        kind = "32-bit integers" if image.mode == "I" else "floating-point numbers"
        raise DatasetError(
            f"The pixels of {path} are {kind}, so it is unknown which value means white.",
            fix="Save the image with 8 or 16 bits per channel.",
        )
    image.info.pop("transparency", None)  # Pillow would warn when it drops it
    return image.convert("RGB")
