"""What a side trains: a data set and a neural network."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import earn_texts
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from decloud_pl.build import build
from decloud_pl.data.catalog import Catalog
from decloud_pl.data.entry import DataFolder
from decloud_pl.data.source import Source
from decloud_pl.localnet.agents.oracle import Samples
from decloud_pl.models import package
from decloud_pl.models.inputs import TextInput
from decloud_pl.models.spec import ModelSpec

_LENGTH = 64  # tokens of a text


@dataclass(frozen=True)
class Task:
    """A data set and a neural network.

    Attributes:
        name: the task's name in the command's options and in the results.
        dataset: the data set's name.
        spec: the neural network.
    """

    name: str
    dataset: str
    spec: ModelSpec

    def node(self, folder: Path) -> dict[str, Any]:
        """Return the configuration node of the data set. Made files go to ``folder``."""
        paths = {"texts": str(earn_texts.path(folder))} if self.dataset == "texts" else {}
        data = DataFolder.from_node(None)
        return Catalog(data, paths=paths).resolve(self.dataset).node(data)

    def source(self, folder: Path) -> Source:
        source: Source = build(self.node(folder))
        return source

    def test(self, folder: Path) -> Samples:
        """Return the test split as the validator reads it."""
        return _test(self.name, folder)

    def images(self, folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return the published training split: grey images (N, H, W) and labels (N)."""
        return _images(self.name, folder)

    def load(self, folder: Path) -> None:
        """Read the data set into memory."""
        self.test(folder)
        if self == PAIRED:
            self.images(folder)

    def save(self, state: Mapping[str, torch.Tensor], folder: Path) -> Path:
        """Write a base model's weights as a creator publishes them, and return the path."""
        if self.spec.architecture == "simple_cnn":
            path = folder / "base.pt"
            torch.save(dict(state), path)
        else:
            path = folder / "base.safetensors"
            package.save(path, self.spec, state)
        return path

    def network(self, seed: int) -> nn.Module:
        """Return the network with fresh weights."""
        torch.manual_seed(seed)
        return self.spec.network()


@functools.cache
def _test(name: str, folder: Path) -> Samples:
    task = TASKS[name]
    return Samples.of(task.source(folder).load("test"), task.spec.input)


@functools.cache
def _images(name: str, folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    source = TASKS[name].source(folder)
    parts: list[Any] = [source.load("train"), source.load("held_out")]
    return np.concatenate([part.images for part in parts]), np.concatenate([part.labels for part in parts])


def _text(name: str, **hyper_parameters: int) -> Task:
    classes = {"num_classes": len(earn_texts.PACKAGES)}
    return Task(name, "texts", ModelSpec(name, classes | hyper_parameters, TextInput(length=_LENGTH)))


_IMAGES = ModelSpec("simple_cnn", {"num_classes": 10})
PAIRED = Task("fashionmnist", "fashionmnist", _IMAGES)
"""The task of the pairs with the usual loop."""
TASKS = {
    task.name: task
    for task in (
        PAIRED,
        Task("digits", "digits", _IMAGES),
        _text("text_bag"),
        _text("text_transformer", length=_LENGTH),
    )
}
