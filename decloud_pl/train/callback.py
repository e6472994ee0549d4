"""The callback that turns a finished fit into an update and hands it on. Works alone, in a notebook too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from decloud_pl.domain import Convention, Update
from decloud_pl.errors import TrainingError
from decloud_pl.train import delta
from decloud_pl.train.plan import Progress, UpdateDtype

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
        score: accuracy of a state dict on the test split; without it both accuracies are 0.
        accuracy_before: of the base model.
        convention: what entries mean to the validator.
        gradient_rate: η of the ``gradient`` convention.
        dtype: of floating-point entries.
    """

    def __init__(
        self,
        base: Mapping[str, torch.Tensor],
        publisher: Publisher,
        *,
        path: Path,
        network_of: Callable[[LightningModule], nn.Module] = lambda module: module,
        score: Callable[[Mapping[str, torch.Tensor]], float] | None = None,
        accuracy_before: float = 0.0,
        convention: Convention = "delta",
        gradient_rate: float = 0.1,
        dtype: UpdateDtype = "float16",
    ) -> None:
        self._base = {name: tensor.detach().cpu().clone() for name, tensor in base.items()}
        self._publisher = publisher
        self._path = path
        self._network_of = network_of
        self._score = score
        self._accuracy_before = accuracy_before
        self._convention: Convention = convention
        self._gradient_rate = gradient_rate
        self._dtype: UpdateDtype = dtype

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
        trained = self._network_of(pl_module).state_dict()
        entries = delta.encode(
            self._base, trained, convention=self._convention, gradient_rate=self._gradient_rate, dtype=self._dtype
        )
        cid, profile, size = delta.write(self._path, entries)
        applied = delta.apply(self._base, entries, convention=self._convention, gradient_rate=self._gradient_rate)
        after = self._score(applied) if self._score is not None else 0.0
        self._publisher.publish(
            Update(
                path=self._path,
                cid=cid,
                profile=profile,
                size=size,
                convention=self._convention,
                accuracy_before=self._accuracy_before,
                accuracy_after=after,
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
        total = int(trainer.estimated_stepping_batches)
        step = trainer.global_step
        if step % max(1, total // self._times) and step != total:
            return
        loss = getattr(pl_module, "last_loss", None)
        self._report(Progress("fit", trainer.current_epoch, step, total, None if loss is None else float(loss)))
