"""The network that public creators publish: three convolutions and two linear layers for 3×32×32 images."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

PARAMETERS = tuple(
    f"{layer}.{part}" for layer in ("conv1", "conv2", "conv3", "fc1", "fc2") for part in ("weight", "bias")
)


class SimpleCNN(nn.Module):
    """Input (N, 3, 32, 32), output (N, ``num_classes``) logits."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.conv3 = nn.Conv2d(64, 64, 3, padding=1)
        self.fc1 = nn.Linear(64 * 4 * 4, 512)
        self.fc2 = nn.Linear(512, num_classes)
        self.dropout = nn.Dropout(0.5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        # The order of ReLU and pooling changes neither outputs nor gradients. After the pooling, a ReLU has less work.
        hidden = functional.relu(functional.max_pool2d(self.conv1(images), 2))
        hidden = functional.relu(functional.max_pool2d(self.conv2(hidden), 2))
        hidden = functional.relu(functional.max_pool2d(self.conv3(hidden), 2))
        hidden = self.dropout(functional.relu(self.fc1(hidden.flatten(1))))
        logits: torch.Tensor = self.fc2(hidden)
        return logits
