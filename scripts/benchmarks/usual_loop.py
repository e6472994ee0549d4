"""The usual training loop: PIL transforms per sample, a DataLoader with two workers, Adam, float32."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

BATCH = 32
Sample = tuple[torch.Tensor, int]


class Pictures(Dataset[Sample]):
    """Images (N, H, W) as PIL images through transforms."""

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        self._images = images
        self._labels = labels
        self._transform = transforms.Compose(
            [
                transforms.Resize((32, 32)),
                transforms.Grayscale(3),
                transforms.ToTensor(),
                transforms.Normalize((0.5,) * 3, (0.5,) * 3),
            ]
        )

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> Sample:
        return self._transform(Image.fromarray(self._images[index])), int(self._labels[index])


class UsualLoop:
    """Trains a network step by step, over as many epochs as needed."""

    def __init__(
        self, network: nn.Module, images: NDArray[np.uint8], labels: NDArray[np.int64], *, seed: int, rate: float
    ) -> None:
        self._network = network
        self._optimizer = torch.optim.Adam(network.parameters(), lr=rate)
        self._criterion = nn.CrossEntropyLoss()
        self._loader = DataLoader(
            Pictures(images, labels),
            batch_size=BATCH,
            shuffle=True,
            num_workers=2,
            generator=torch.Generator().manual_seed(seed),
        )
        self._batches = self._endless()

    @property
    def steps_per_epoch(self) -> int:
        return len(self._loader)

    def train(self, steps: int) -> float:
        """Train; return the steps per second."""
        self._network.train()
        begun = time.perf_counter()
        for _ in range(steps):
            images, labels = next(self._batches)
            self._optimizer.zero_grad()
            loss = self._criterion(self._network(images), labels)
            loss.backward()
            self._optimizer.step()
            loss.item()
        return steps / (time.perf_counter() - begun)

    def _endless(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        while True:
            yield from self._loader
