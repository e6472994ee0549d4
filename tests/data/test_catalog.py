"""From the chain's names to what this machine can read."""

from __future__ import annotations

from pathlib import Path

import pytest

from decloud_pl.data.catalog import DEBIAN_FASHION_MNIST, resolve
from decloud_pl.errors import DatasetNotFound, DatasetNotSupported

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def test_a_name_of_its_own_and_a_mapped_one() -> None:
    assert resolve("digits", {}, {}).name == "digits"
    assert resolve("custom", {"custom": "digits"}, {}).name == "digits"


@pytest.mark.parametrize("name", ["custom", "squad", "cifar10"])
def test_what_cannot_be_read_says_how_to_map_it(name: str) -> None:
    with pytest.raises(DatasetNotSupported, match=f"mappings.{name}=NAME"):
        resolve(name, {}, {})


def test_a_mapping_to_nothing_is_named() -> None:
    with pytest.raises(DatasetNotSupported, match="mapped to digitz"):
        resolve("custom", {"custom": "digitz"}, {})


@pytest.mark.parametrize("folder", ["", "FashionMNIST/raw"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_fashion_mnist_is_found_where_its_files_are(tmp_path: Path, folder: str, suffix: str) -> None:
    paths = {"fashionmnist": str(tmp_path)}
    if not DEBIAN_FASHION_MNIST.is_dir():
        with pytest.raises(DatasetNotFound, match=r"paths\.fashionmnist"):
            resolve("fashionmnist", {}, paths)
    where = tmp_path / folder
    where.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (where / f"{name}{suffix}").touch()
    assert resolve("fashionmnist", {}, paths).locate((tmp_path,)) == where
