"""The Lightning module that trains a base model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.nn import functional
from torchmetrics.classification import MulticlassAccuracy

from decloud_pl.train.fit.optimizers import OptimizerFactory, SchedulerFactory, configure


class RoundModule(LightningModule):
    """Train a classifier with cross-entropy.

    A batch is (inputs, labels). If the processes get unequal parts of a batch, it is (inputs, labels, weight), and the
    loss is multiplied by the weight. The module logs ``train/loss`` and ``train/accuracy`` every ``log_every_n_steps``
    of the Trainer. It logs ``val/loss``, ``val/accuracy``, ``test/loss`` and ``test/accuracy`` over whole splits.

    Args:
        network: maps inputs to logits (N, classes).
        num_classes: number of classes, for the accuracy metrics.
        optimizer: makes the optimizer from the parameters.
        scheduler: makes the learning-rate schedule, which advances with every batch. None keeps the learning rate
            constant.
        compiled: run the network through ``torch.compile``.
        label_smoothing: share of each training target that is spread over all classes.
        dropout: drop probability to set in every `nn.Dropout` layer of the network; None keeps each layer's own.
    """

    LOGGED: ClassVar = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")
    """The metrics that a fit logs."""

    def __init__(
        self,
        network: nn.Module,
        *,
        num_classes: int,
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory | None = None,
        compiled: bool = False,
        label_smoothing: float = 0.0,
        dropout: float | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        # The data set reader checked the labels. Checking them again in each batch would synchronize with the GPU.
        self.train_accuracy = MulticlassAccuracy(num_classes, average="micro", validate_args=False)
        self.val_accuracy = MulticlassAccuracy(num_classes, average="micro", validate_args=False)
        self.test_accuracy = MulticlassAccuracy(num_classes, average="micro", validate_args=False)
        self._optimizer = optimizer
        self._scheduler = scheduler
        self._label_smoothing = label_smoothing
        if dropout is not None:
            for part in network.modules():
                if isinstance(part, nn.Dropout):
                    part.p = dropout
        if compiled:
            network.compile()  # in place, which keeps the names in its state dict

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(inputs)
        return logits

    def training_step(self, batch: Sequence[torch.Tensor], batch_idx: int) -> torch.Tensor:
        inputs, labels, *weight = batch
        logits = self(inputs)
        loss = functional.cross_entropy(logits.float(), labels, label_smoothing=self._label_smoothing)
        # Compute the accuracy only at logged steps: logging costs more than the arithmetic of a step.
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]  # set while the Trainer is made
        if every and (self.trainer.global_step + 1) % every == 0:
            self.train_accuracy(logits.detach(), labels)
            self.log("train/loss", loss.detach(), prog_bar=True)
            self.log("train/accuracy", self.train_accuracy, prog_bar=True, on_step=True, on_epoch=False)
        return loss * weight[0] if weight else loss

    def validation_step(self, batch: Sequence[torch.Tensor], batch_idx: int) -> None:
        self._evaluate(self(batch[0]), batch, "val", self.val_accuracy)

    def test_step(self, batch: Sequence[torch.Tensor], batch_idx: int) -> None:
        self._evaluate(self(batch[0]), batch, "test", self.test_accuracy)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        return configure(self, self._optimizer, self._scheduler)

    def _evaluate(
        self, logits: torch.Tensor, batch: Sequence[torch.Tensor], stage: str, accuracy: MulticlassAccuracy
    ) -> None:
        _, labels, *weight = batch
        # A process without a share of the last batch gets a row of another process, with weight 0.
        if weight and not weight[0]:
            logits, labels = logits[:0], labels[:0]
        accuracy.update(logits, labels)
        loss = functional.cross_entropy(logits.float(), labels) if len(labels) else logits.new_zeros(())
        self.log(f"{stage}/loss", loss, batch_size=len(labels), sync_dist=self.trainer.world_size > 1)
        self.log(f"{stage}/accuracy", accuracy, prog_bar=True, batch_size=len(labels))
