"""Image files of every kind, as a network sees them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from decloud_pl.data.formats.image_files import ImageFiles
from decloud_pl.errors import DatasetError


def pixels_of(path: Path, size: int) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = ImageFiles((path,)).read(size)[0]
    return pixels


RAMP = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)


@pytest.mark.parametrize("form", ["png", "tiff", "big-endian.tif", "pgm", "12-bit.pgm"])
def test_grey_of_16_bits_is_scaled(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"a.{form}"
    if form == "12-bit.pgm":
        path.write_bytes(b"P5 16 16 4095\n" + (RAMP // 16).astype(">u2").tobytes())
    elif form == "big-endian.tif":
        Image.frombytes("I;16B", (16, 16), RAMP.astype(">u2").tobytes()).save(path)
    else:
        Image.fromarray(RAMP).save(path)
    found = pixels_of(path, 16).astype(int)
    assert np.abs(found - np.arange(256).reshape(16, 16, 1)).max() <= (1 if form == "12-bit.pgm" else 0)


@pytest.mark.parametrize(("kind", "words"), [(np.int32, "32-bit integers"), (np.float32, "floating-point numbers")])
def test_pixels_without_a_known_range_are_refused(tmp_path: Path, kind: type, words: str) -> None:
    Image.fromarray(RAMP.astype(kind)).save(tmp_path / "a.tiff")
    with pytest.raises(DatasetError, match=rf"The pixels of .*a\.tiff are {words}.*8 or 16 bits"):
        pixels_of(tmp_path / "a.tiff", 16)


def images_of_many_kinds() -> Iterator[tuple[str, Image.Image, dict[str, Any]]]:
    colour = Image.fromarray(np.arange(16 * 12 * 3, dtype=np.uint8).reshape(16, 12, 3))
    exif = Image.Exif()
    for orientation in range(1, 9):
        exif[0x0112] = orientation
        yield f"orientation{orientation}.jpg", colour, {"exif": exif.tobytes()}
    alpha = Image.fromarray(np.arange(16 * 12, dtype=np.uint8).reshape(16, 12))
    see_through = colour.copy()
    see_through.putalpha(alpha)
    yield "rgba.png", see_through, {}
    yield "rgba.webp", see_through, {"lossless": True}
    yield "la.png", see_through.convert("LA"), {}
    yield "one-colour.png", colour, {"transparency": (0, 1, 2)}
    yield "palette.png", colour.quantize(8), {"transparency": bytes([0, 128, 255])}
    yield "palette.gif", colour.quantize(8), {"transparency": 1}
    yield "grey.png", alpha, {}
    yield "bits.png", alpha.convert("1"), {}
    yield "cmyk.jpg", colour.convert("CMYK"), {}


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")  # torchvision's
def test_orientation_and_transparency_are_those_of_torchvisions_loader(tmp_path: Path) -> None:
    from torchvision.datasets.folder import pil_loader

    for name, image, options in images_of_many_kinds():
        image.save(tmp_path / name, **options)
        expected = pil_loader(str(tmp_path / name)).resize((16, 16), Image.Resampling.BILINEAR)
        assert np.array_equal(pixels_of(tmp_path / name, 16), np.asarray(expected)), name


def test_an_image_that_is_too_large_is_named_as_such(tmp_path: Path) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 15_000, 15_000, 8, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DatasetError, match=r"a\.png is too large: it has more than 178,956,970 pixels.*uses 32×32"):
        pixels_of(tmp_path / "a.png", 32)
