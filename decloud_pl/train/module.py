"""A base model under training."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.nn import functional
from torchmetrics.classification import MulticlassAccuracy

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


class RoundModule(LightningModule):
    """Cross-entropy on a classifier.

    Args:
        network: (N, 3, H, W) → (N, classes) logits.
        num_classes: for the accuracy of the training batches.
        optimizer: makes the optimizer from the parameters.
    """

    def __init__(self, network: nn.Module, *, num_classes: int, optimizer: OptimizerFactory) -> None:
        super().__init__()
        self.network = network
        self.train_accuracy = MulticlassAccuracy(num_classes, average="micro")
        self._optimizer = optimizer
        self.last_loss: torch.Tensor | None = None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(images)
        return logits

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> torch.Tensor:  # noqa: ARG002
        images, labels = batch
        logits = self(images)
        loss = functional.cross_entropy(logits.float(), labels)
        self.last_loss = loss.detach()
        self.train_accuracy.update(logits.detach(), labels)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self._optimizer(self.network.parameters())
