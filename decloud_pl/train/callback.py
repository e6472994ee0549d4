"""The callback that turns a finished fit into an update and hands it on; it works alone, in a notebook too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from decloud_pl.domain import Update
from decloud_pl.errors import TrainingError
from decloud_pl.train.best import BestWeights
from decloud_pl.train.deadline import DeadlineCallback
from decloud_pl.train.delta import Encoding
from decloud_pl.train.plan import Progress
from decloud_pl.train.writing import UpdateWriter

State = Mapping[str, torch.Tensor]

_SHARDED = ("FSDPStrategy", "DeepSpeedStrategy", "ModelParallelStrategy")


class Publisher(Protocol):
    """What happens with a finished update: pin it, submit it, or just remember it."""

    def publish(self, update: Update) -> object: ...


class DeltaCallback(Callback):
    """After fit, on rank zero: the difference to the fetched base weights, as a file, to the publisher.

    The base weights are given, not taken from the module when the fit begins: a resumed fit begins with
    weights from its checkpoint, and the difference to those would be worth nothing.

    Args:
        base: the fetched base model's state dict.
        publisher: gets the update.
        path: the file to write.
        network_of: the trained network of the module; the module itself by default.
        score: accuracy of a state dict on data of your own; without it both accuracies are 0.
        accuracy_before: of the base model.
        encoding: how entries are written; float16 by default.
        writer: writes the update in another way than as differences to ``base`` in this encoding.
        best: gives the weights to hand in; without it the last ones are.
        deadline: tells whether the training was ended early.
    """

    def __init__(
        self,
        base: State,
        publisher: Publisher,
        *,
        path: Path,
        network_of: Callable[[LightningModule], nn.Module] = lambda module: module,
        score: Callable[[State], float] | None = None,
        accuracy_before: float = 0.0,
        encoding: Encoding | None = None,
        writer: UpdateWriter | None = None,
        best: BestWeights | None = None,
        deadline: DeadlineCallback | None = None,
    ) -> None:
        copied = {name: tensor.detach().cpu().clone() for name, tensor in base.items()}
        self.writer = writer or UpdateWriter(copied, encoding=encoding or Encoding())
        self._publisher = publisher
        self._path = path
        self._network_of = network_of
        self._score = score
        self._accuracy_before = accuracy_before
        self._best = best
        self._deadline = deadline

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        """Refuses strategies under which no process holds the whole model."""
        strategy = type(trainer.strategy).__name__
        if strategy in _SHARDED:
            raise TrainingError(
                f"The strategy {strategy} shards the model, so no process could compute the update.",
                fix="Use trainer.strategy=ddp or a single device.",
            )

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Encodes, writes, scores what a validator will see, and hands on."""
        if not trainer.is_global_zero or trainer.interrupted:
            return
        network, best = self._network_of(pl_module), self._best
        update, applied = self.writer.write(
            self._path,
            network.state_dict() if best is None else best.weights(network),
            trained_score=None if best is None else best.accuracy,
        )
        self._publisher.publish(
            replace(
                update,
                accuracy_before=self._accuracy_before,
                accuracy_after=self._score(applied) if self._score is not None else 0.0,
                stopped_early=self._deadline is not None and self._deadline.stopped,
            )
        )


class ProgressCallback(Callback):
    """Reports steps to a function, at most ``times`` times over the fit."""

    def __init__(self, report: Callable[[Progress], None], *, times: int = 200) -> None:
        self._report = report
        self._times = times

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,  # noqa: ARG002
        batch: object,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        total, step = int(trainer.estimated_stepping_batches), trainer.global_step
        if step % max(1, total // self._times) and step not in (1, total):
            return
        loss = getattr(pl_module, "last_loss", None)
        self._report(Progress("fit", trainer.current_epoch, step, total, None if loss is None else float(loss)))
