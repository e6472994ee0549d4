"""The callback that turns a finished fit into an update and hands it on; it works alone, in a notebook too."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from decloud_pl.domain import Update
from decloud_pl.errors import TrainingError
from decloud_pl.train.delta import Encoding
from decloud_pl.train.progress import Progress
from decloud_pl.train.writing import UpdateWriter

State = Mapping[str, torch.Tensor]

_UNKNOWN_TOTAL = 50
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
        weights_of: the weights of the trained network to hand in; the last ones by default.
        stopped_early: whether the training ended before its last step, for the round's deadline.
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
        weights_of: Callable[[nn.Module], State] = nn.Module.state_dict,
        stopped_early: Callable[[], bool] = bool,
    ) -> None:
        copied = {name: tensor.detach().cpu().clone() for name, tensor in base.items()}
        self.writer = writer or UpdateWriter(copied, encoding=encoding or Encoding())
        self._publisher = publisher
        self._path = path
        self._network_of = network_of
        self._score = score
        self._accuracy_before = accuracy_before
        self._weights_of = weights_of
        self._stopped_early = stopped_early

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
        network = self._network_of(pl_module)
        update, applied = self.writer.write(self._path, self._weights_of(network))
        self._publisher.publish(
            replace(
                update,
                accuracy_before=self._accuracy_before,
                accuracy_after=self._score(applied) if self._score is not None else 0.0,
                stopped_early=self._stopped_early(),
            )
        )


class ProgressCallback(Callback):
    """Reports steps to a function, at most ``times`` times over the fit."""

    def __init__(self, report: Callable[[Progress], None], *, times: int = 200) -> None:
        self._report = report
        self._times = times
        self._step = -1

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        outputs: torch.Tensor | Mapping[str, Any] | None,
        batch: object,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        planned, step = trainer.estimated_stepping_batches, trainer.global_step
        total = 0 if math.isinf(planned) else int(planned)
        every = total // self._times if total else _UNKNOWN_TOTAL
        if step == self._step or (step % max(1, every) and step not in (1, total)):
            return
        self._step = step
        loss = loss_of(outputs)
        if loss is not None:
            loss *= trainer.accumulate_grad_batches  # Lightning has divided it
        self._report(Progress("fit", trainer.current_epoch, step, total, loss))


def loss_of(outputs: torch.Tensor | Mapping[str, Any] | None) -> float | None:
    """The loss that a ``training_step`` returned; None where it returned none."""
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
    return float(loss) if isinstance(loss, torch.Tensor) else None


def trained_network(module: LightningModule, base: State) -> nn.Module:
    """The network in a module that has the base model's names and shapes: the module itself, or one submodule.

    Raises:
        TrainingError: none has them, or more than one.
    """
    shapes = {name: tensor.shape for name, tensor in base.items()}
    found = [
        part
        for part in module.modules()
        if {name: tensor.shape for name, tensor in part.state_dict().items()} == shapes
    ]
    if len(found) != 1:
        problem = "Several parts of the module have" if found else "No part of the module has"
        raise TrainingError(
            f"{problem} the base model's tensors.", fix="Keep base.network() as one attribute of the module, unchanged."
        )
    return found[0]
