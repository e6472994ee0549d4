"""IDX files are read, or refused in one sentence."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from decloud_pl.data.formats.idx import IdxImages, read_idx
from decloud_pl.errors import DatasetError
from tests.data.tiny import write_idx

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture(params=[False, True], ids=["plain", "gzip"])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    random = np.random.default_rng(0)
    for part, count in (("train", 40), ("t10k", 10)):
        images = random.integers(0, 256, (count, 28, 28))
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", images, compress=request.param)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", np.arange(count) % 10, compress=request.param)
    return tmp_path


def test_splits(folder: Path) -> None:
    source = IdxImages("fashionmnist", root=str(folder))
    sizes = {name: len(source.load(name)) for name in ("train", "held_out", "test")}
    assert sizes == {"train": 36, "held_out": 4, "test": 10}
    assert source.load("test").labels.tolist() == list(range(10))


def test_a_label_out_of_range(folder: Path) -> None:
    write_idx(folder / "t10k-labels-idx1-ubyte", np.full(10, 11))
    with pytest.raises(DatasetError, match="the label 11, outside 0 to 9"):
        IdxImages("fashionmnist", root=str(folder)).load("test")


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00\x00\x08", struct.pack(">II", 0x0801, 5) + b"abc", struct.pack(">II", 0x0D01, 1) + b"a"],
)
def test_a_damaged_file_is_one_sentence(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(DatasetError, match="Get the file again"):
        read_idx(path, dimensions=1)


def test_a_damaged_archive_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file.gz").write_bytes(gzip.compress(b"x" * 1000)[:-20])
    with pytest.raises(DatasetError, match="truncated or damaged"):
        read_idx(tmp_path / "file", dimensions=1)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_the_real_files() -> None:
    test = IdxImages("fashionmnist").load("test")
    assert isinstance(test.images, np.ndarray)
    assert test.images.shape == (10_000, 28, 28)
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert len(IdxImages("fashionmnist").load("train")) == 54_000
