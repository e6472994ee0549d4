"""A multi-layer perceptron on pixels."""

from __future__ import annotations

import torch
from torch import nn


class MLP(nn.Module):
    """Input (N, 3, ``image_size``, ``image_size``), output (N, ``num_classes``) logits.

    There are ``layers`` hidden layers of ``hidden`` units with ReLU and dropout. 0 layers give a linear classifier.
    """

    def __init__(
        self, num_classes: int = 10, image_size: int = 32, hidden: int = 256, layers: int = 2, dropout: float = 0.0
    ) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        width = 3 * image_size * image_size
        for _ in range(layers):
            blocks += [nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout)]
            width = hidden
        self.hidden = nn.Sequential(*blocks)
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.hidden(images.flatten(1)))
        return logits
