"""A base model under training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.nn import functional
from torchmetrics.classification import MulticlassAccuracy

from decloud_pl.train.optimizers import OptimizerFactory, SchedulerFactory


class RoundModule(LightningModule):
    """Cross-entropy on a classifier.

    Batches are (inputs, labels) or, where several processes share a batch unevenly, (inputs, labels, weight).

    Args:
        network: inputs → (N, classes) logits.
        num_classes: for the accuracies.
        optimizer: makes the optimizer from the parameters.
        scheduler: makes the schedule, stepped with every batch; None keeps the rate.
        log_every: batches between two that are logged. Logging each costs more than a step's arithmetic.
        compiled: run the network through ``torch.compile``.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        num_classes: int,
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory | None = None,
        log_every: int = 50,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        # Labels were checked when the data set was read; checking each batch again would cost a synchronisation.
        self.train_accuracy = MulticlassAccuracy(num_classes, average="micro", validate_args=False)
        self.val_accuracy = MulticlassAccuracy(num_classes, average="micro", validate_args=False)
        self.test_accuracy = MulticlassAccuracy(num_classes, average="micro", validate_args=False)
        self._optimizer = optimizer
        self._scheduler = scheduler
        self._log_every = log_every
        if compiled:
            network.compile()  # in place, so that the names in its state dict stay
        self.last_loss: torch.Tensor | None = None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(inputs)
        return logits

    def training_step(self, batch: Sequence[torch.Tensor], batch_idx: int) -> torch.Tensor:
        inputs, labels, *weight = batch
        logits = self(inputs)
        loss = functional.cross_entropy(logits.float(), labels)
        self.last_loss = loss.detach()
        if batch_idx % self._log_every == 0:
            self.train_accuracy(logits.detach(), labels)
            self.log("train/loss", self.last_loss, prog_bar=True)
            self.log("train/accuracy", self.train_accuracy, prog_bar=True, on_step=True, on_epoch=False)
        return loss * weight[0] if weight else loss

    def validation_step(self, batch: Sequence[torch.Tensor], batch_idx: int) -> None:  # noqa: ARG002
        self._evaluate(batch, "val", self.val_accuracy)

    def test_step(self, batch: Sequence[torch.Tensor], batch_idx: int) -> None:  # noqa: ARG002
        self._evaluate(batch, "test", self.test_accuracy)

    def _evaluate(self, batch: Sequence[torch.Tensor], stage: str, accuracy: MulticlassAccuracy) -> None:
        inputs, labels = batch[0], batch[1]
        logits = self(inputs)
        accuracy.update(logits, labels)
        self.log(f"{stage}/loss", functional.cross_entropy(logits.float(), labels), batch_size=len(labels))
        self.log(f"{stage}/accuracy", accuracy, prog_bar=True, batch_size=len(labels))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self._optimizer(self.network.parameters())
        if self._scheduler is None:
            return optimizer
        schedule = self._scheduler(optimizer, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
