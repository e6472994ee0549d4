"""Tiny data sets in their public formats. A network can learn a class from each, so a training gains."""

from __future__ import annotations

import gzip
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

CLASSES = {
    "cifar10": 10,
    "cifar100": 100,
    "mnist": 10,
    "fashionmnist": 10,
    "emnist": 47,
    "kmnist": 10,
    "svhn": 10,
    "imdb": 2,
    "sst2": 2,
    "agnews": 4,
    "digits": 10,
}
TEXTS = ("imdb", "sst2", "agnews")


def images(count: int, classes: int, side: int, channels: int, seed: int) -> tuple[Bytes, NDArray[np.int64]]:
    """Return images (N, side, side, channels): the pattern of a class, plus noise. Labels cycle through the classes."""
    patterns = np.random.default_rng(classes).integers(0, 2, (classes, 4, 4, channels)) * 200
    labels = np.arange(count) % classes
    noise = np.random.default_rng(seed).integers(0, 56, (count, side, side, channels))
    pixels = np.kron(patterns[labels], np.ones((1, side // 4, side // 4, 1), np.int64)) + noise
    return pixels.astype(np.uint8), labels.astype(np.int64)


def texts(count: int, classes: int, seed: int) -> tuple[list[str], list[int]]:
    """Return texts of ten words, five of which belong to their class."""
    random = np.random.default_rng(seed)
    labels = [index % classes for index in range(count)]
    words = [[f"word{label}x{random.integers(5)}", f"filler{random.integers(50)}"] * 5 for label in labels]
    return [" ".join(line).capitalize() + "." for line in words], labels


def write(name: str, data: Path, *, train: int = 0, test: int = 0) -> None:
    """Write a data set into a data folder, in its published form.

    Args:
        name: the catalog's name.
        data: the data folder.
        train: samples of the training split. The default is some for each class.
        test: samples of the test split, likewise.
    """
    classes = CLASSES[name]
    counts = {"train": train or max(40, 4 * classes), "test": test or max(20, 2 * classes)}
    if name in TEXTS:
        _text(name, data / name, classes, counts)
    elif name in ("mnist", "fashionmnist", "kmnist", "emnist"):
        _idx(name, data, classes, counts)
    elif name in ("cifar10", "cifar100"):
        _cifar(name, data, classes, counts)
    elif name == "svhn":
        _svhn(data / "SVHN", classes, counts)
    # The digits are in scikit-learn.


def write_idx(path: Path, array: NDArray[Any], *, compress: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = struct.pack(f">I{array.ndim}I", 0x0800 | array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
    if compress:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(data))
    else:
        path.write_bytes(data)


def _idx(name: str, data: Path, classes: int, counts: dict[str, int]) -> None:
    folder = data / {"mnist": "MNIST", "fashionmnist": "FashionMNIST", "kmnist": "KMNIST", "emnist": "EMNIST"}[name]
    prefixes = {"train": "train", "test": "t10k"}
    if name == "emnist":
        prefixes = {"train": "emnist-balanced-train", "test": "emnist-balanced-test"}
    for seed, (split, prefix) in enumerate(prefixes.items()):
        pixels, labels = images(counts[split], classes, 28, 1, seed)
        write_idx(folder / "raw" / f"{prefix}-images-idx3-ubyte", pixels[..., 0])
        write_idx(folder / "raw" / f"{prefix}-labels-idx1-ubyte", labels)


def _cifar(name: str, data: Path, classes: int, counts: dict[str, int]) -> None:
    folder = data / {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}[name]
    folder.mkdir(parents=True)
    names = {"cifar10": ([f"data_batch_{number}" for number in range(1, 6)], ["test_batch"])}.get(
        name, (["train"], ["test"])
    )
    for seed, (split, batches) in enumerate(zip(("train", "test"), names, strict=True)):
        pixels, labels = images(counts[split], classes, 32, 3, seed)
        rows = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), 3072)
        for batch, some, some_labels in zip(
            batches, np.array_split(rows, len(batches)), np.array_split(labels, len(batches)), strict=True
        ):
            content: dict[str, object] = {"batch_label": batch, "data": some, "filenames": ["x.png"] * len(some)}
            if name == "cifar10":
                content["labels"] = some_labels.tolist()
            else:
                content |= {"fine_labels": some_labels.tolist(), "coarse_labels": (some_labels // 5).tolist()}
            (folder / batch).write_bytes(pickle.dumps(content, protocol=2))
    meta = {"cifar10": ("batches.meta", "label_names"), "cifar100": ("meta", "fine_label_names")}[name]
    (folder / meta[0]).write_bytes(pickle.dumps({meta[1]: [f"c{index}" for index in range(classes)]}, protocol=2))


def _svhn(folder: Path, classes: int, counts: dict[str, int]) -> None:
    from scipy.io import savemat

    folder.mkdir(parents=True)
    for seed, (split, count) in enumerate(counts.items()):
        pixels, labels = images(count, classes, 32, 3, seed)
        labels[labels == 0] = 10
        matrix = {"X": pixels.transpose(1, 2, 3, 0), "y": labels.astype(np.uint8)[:, None]}
        savemat(folder / f"{split}_32x32.mat", matrix, do_compression=True)


def _text(name: str, folder: Path, classes: int, counts: dict[str, int]) -> None:
    from pyarrow import parquet, table

    sub, column, test = {
        "imdb": ("plain_text", "text", "test"),
        "sst2": ("data", "sentence", "validation"),
        "agnews": ("data", "text", "test"),
    }[name]
    (folder / sub).mkdir(parents=True)
    for seed, (split, word) in enumerate((("train", "train"), ("test", test))):
        lines, labels = texts(counts[split], classes, seed)
        content: dict[str, Any] = {column: lines, "label": labels}
        if name == "sst2":
            content = {"idx": list(range(len(lines))), **content}
        parquet.write_table(table(content), folder / sub / f"{word}-00000-of-00001.parquet")
    if name == "sst2":  # its test labels are secret
        parquet.write_table(
            table({"idx": [0], "sentence": ["x"], "label": [-1]}), folder / sub / "test-00000-of-00001.parquet"
        )
