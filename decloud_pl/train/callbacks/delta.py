"""A callback that turns a finished fit into an update and publishes it. It also works without the daemon."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from decloud_pl.domain import Encoding
from decloud_pl.errors import TrainingError
from decloud_pl.models.base_model import BaseModel
from decloud_pl.store import Publisher, RoundPublisher
from decloud_pl.train.progress import Progress
from decloud_pl.train.update.statistics import with_statistics_of
from decloud_pl.train.update.writing import UpdateWriter

State = Mapping[str, torch.Tensor]
Shapes = Mapping[str, torch.Size]

_REPORTS = 200
_REPORT_SECONDS = 30.0
"""After this time, the next step is reported. A training without reports counts as hung."""
_UNKNOWN_TOTAL = 50
_SHARDED = ("FSDPStrategy", "DeepSpeedStrategy", "ModelParallelStrategy")
_UPDATE_FILE = "update.pt"


class DeltaCallback(Callback):
    """After a fit, write the difference between trained and base weights to a file and publish it, on rank zero.

    The caller must pass the base weights. The callback cannot use the module's weights at the start of the fit, because
    they come from a checkpoint if the fit resumes.

    Args:
        base: the fetched base model, or its state dict.
        publisher: receives the update.
        path: the file to write. The default is the path in the publisher's ``update_form``, or ``update.pt`` in the
            Trainer's ``default_root_dir``.
        network_of: returns the trained network, given the LightningModule. By default, the callback searches the module
            and its submodules for the only network whose state dict has the base model's names and shapes.
        score: returns the accuracy (0 to 1) of a state dict on your own data. Without it, no accuracy is measured.
        accuracy_before: the base model's accuracy (0 to 1) on the data that ``score`` uses.
        encoding: how to encode the values of the update. The default is the encoding in the publisher's
            ``update_form``, or float16.
        writer: writes the update. If it is given, ``base`` and ``encoding`` are not used.
        weights_of: returns the weights to publish, given the trained network. The default is its weights at the end of
            the fit.
        stopped_early: called at the end of the fit; returns whether the fit ended before its last step.

    Raises:
        TrainingError: there are no base weights.
    """

    def __init__(
        self,
        base: BaseModel | State,
        publisher: Publisher,
        *,
        path: str | Path | None = None,
        network_of: Callable[[Any], nn.Module] | None = None,
        score: Callable[[State], float] | None = None,
        accuracy_before: float | None = None,
        encoding: Encoding | None = None,
        writer: UpdateWriter | None = None,
        weights_of: Callable[[nn.Module], State] = nn.Module.state_dict,
        stopped_early: Callable[[], bool] = bool,
    ) -> None:
        form = publisher.update_form if isinstance(publisher, RoundPublisher) else None
        if writer is None:
            # The caller may train the tensors that it passes, so we copy them. Tensors from a file need no copy.
            own = base.state_dict() if isinstance(base, BaseModel) else copied(base)
            writer = UpdateWriter(own, encoding=encoding or (Encoding() if form is None else form.encoding))
            if form is not None:
                writer = replace(writer, convention=form.convention, gradient_rate=form.gradient_rate)
        if not writer.base:
            raise TrainingError("DeltaCallback got no base weights to compare with.", fix="Pass it a base model.")
        self.writer = writer
        self._shapes = _shapes(writer.base)
        self._publisher = publisher
        self._path = Path(path) if path is not None else None if form is None else form.path
        self._network_of = network_of
        self._score = score
        self._accuracy_before = accuracy_before
        self._weights_of = weights_of
        self._stopped_early = stopped_early

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check before the training that an update can be computed after it.

        Raises:
            TrainingError: the model is sharded over several processes, or the module does not hold the trained network.
        """
        strategy = type(trainer.strategy).__name__
        if strategy in _SHARDED:
            raise TrainingError(
                f"The strategy {strategy} shards the model, so no process could compute the update.",
                fix="Use trainer.strategy=ddp or a single device.",
            )
        self._network(pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Encode and write the update, score the weights that a validator computes from the update, and publish it."""
        if not trainer.is_global_zero or trainer.interrupted:
            return
        path = self._path or Path(trainer.default_root_dir) / _UPDATE_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        network = self._network(pl_module)
        weights = self._weights_of(network)
        if self.writer.convention == "gradient":  # validators of this convention change parameters only
            weights = with_statistics_of(self.writer.base, weights, network)
        update, applied = self.writer.write(path, weights)
        self._publisher.publish(
            replace(
                update,
                accuracy_before=self._accuracy_before,
                accuracy_after=None if self._score is None else self._score(applied),
                stopped_early=self._stopped_early(),
            )
        )

    def _network(self, module: LightningModule) -> nn.Module:
        if self._network_of is None:
            return trained_network(module, self.writer.base)
        network = self._network_of(module)
        if _shapes(network.state_dict()) != self._shapes:
            raise TrainingError(
                f"network_of returned a {type(network).__name__} whose tensors differ from the base model's: "
                f"{_difference(_shapes(network.state_dict()), self._shapes)}.",
                fix="Return the network that started with the base model's weights.",
            )
        return network


def copied(state: State) -> State:
    """Return a copy of a state dict in CPU memory."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.items()}


def _shapes(state: State) -> Shapes:
    return {name: value.shape for name, value in state.items() if isinstance(value, torch.Tensor)}


def _difference(found: Shapes, wanted: Shapes) -> str:
    """Describe the first tensor that only one of the two state dicts has, or whose shapes differ."""
    for name in (*wanted, *found):
        if name not in found:
            return f"{name} is missing"
        if name not in wanted:
            return f"{name} is not in the base model"
        if found[name] != wanted[name]:
            return f"{name} has shape {tuple(found[name])} instead of {tuple(wanted[name])}"
    return "no difference"


class ProgressCallback(Callback):
    """Call ``report`` with the progress of the fit: after the first step of a run, about 200 times, and every 30 s.

    Args:
        report: receives the progress.
        share: returns the share of the fit's time that has passed, 0 to 1. If the time ends before the planned steps
            do, the reported total is the number of steps until then.
        monotonic: returns the time in seconds.
    """

    def __init__(
        self,
        report: Callable[[Progress], None],
        share: Callable[[], float] | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._report = report
        self._share = share
        self._monotonic = monotonic
        self._reported_at = -math.inf
        self._step = -1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # A second report of a step reads as a repetition: what was measured after the first one would no longer count.
        self._step = trainer.global_step or -1

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: torch.Tensor | Mapping[str, Any] | None,
        batch: object,
        batch_idx: int,
    ) -> None:
        planned, step = trainer.estimated_stepping_batches, trainer.global_step
        total = 0 if math.isinf(planned) else int(planned)
        every = total // _REPORTS if total else _UNKNOWN_TOTAL
        now = self._monotonic()
        is_due = now - self._reported_at >= _REPORT_SECONDS
        if step == self._step or (step % max(1, every) and step not in (1, total) and not is_due):
            return
        self._reported_at, self._step = now, step
        loss = loss_of(outputs)
        if loss is not None:
            loss *= trainer.accumulate_grad_batches  # Lightning divided it by this number
        passed = 0.0 if self._share is None else self._share()
        if passed > 0:
            total = min(total, max(step, round(step / passed)))
        self._report(Progress("fit", trainer.current_epoch, step, total, loss))


def loss_of(outputs: torch.Tensor | Mapping[str, Any] | None) -> float | None:
    """Return the loss that a ``training_step`` returned; None if it returned no loss."""
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
    return float(loss) if isinstance(loss, torch.Tensor) else None


def trained_network(module: nn.Module, base: State) -> nn.Module:
    """Search a module and its submodules for the one network whose tensors have the base model's names and shapes.

    Raises:
        TrainingError: no network matches, or more than one does.
    """
    shapes = _shapes(base)
    found: dict[str, nn.Module] = {
        name: part for name, part in module.named_modules() if _shapes(part.state_dict()) == shapes
    }
    if len(found) == 1:
        return next(iter(found.values()))
    kind = type(module).__name__
    if found:
        names = ", ".join(name or "the module itself" for name in found)
        raise TrainingError(
            f"{kind} holds {len(found)} networks with the base model's tensors: {names}.",
            fix="Keep only one as an attribute of the module, or select it with DeltaCallback's network_of=.",
        )
    raise TrainingError(
        f"No attribute of {kind} holds the base model's network ({len(shapes)} tensors, same names and shapes).",
        fix="Store base.network() in an attribute of the module, and do not add, remove or reshape its tensors.",
    )
