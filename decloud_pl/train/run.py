"""One training from plan to update: wiring only, in the order data, model, callbacks, trainer, fit."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable

from decloud_pl.data.source import Source
from decloud_pl.domain import Update
from decloud_pl.errors import TrainingError
from decloud_pl.models.quarantine import BaseModelOpening
from decloud_pl.train.plan import Progress, TrainingPlan

UPDATE_FILE = "update.pt"
BASE_WEIGHTS_FILE = "base.safetensors"


class _Keeper:
    """The worker's publisher: keeps the update for the caller, who holds the keys."""

    def __init__(self) -> None:
        self.update: Update | None = None

    def publish(self, update: Update) -> None:
        self.update = update


def train_round(plan: TrainingPlan, on_progress: Callable[[Progress], None]) -> Update:
    """Trains as planned and returns the update, which lies on disk.

    Raises:
        UntrustedFileRejected: quarantine refused the base model.
        DatasetError: the data set cannot be read.
        TrainingError: the base model does not fit the data set, or the training failed.
        ConfigError: a node of the plan cannot be built.
    """
    on_progress(Progress("prepare"))
    # The quarantine's child needs seconds to import torch; this process uses them for the same.
    opening = BaseModelOpening(plan.base_model, plan.out / BASE_WEIGHTS_FILE)
    try:
        return _train(plan, opening, on_progress)
    finally:
        opening.cancel()


def _train(plan: TrainingPlan, opening: BaseModelOpening, on_progress: Callable[[Progress], None]) -> Update:
    import torch
    from lightning.pytorch import Trainer, seed_everything
    from safetensors.torch import load_file

    from decloud_pl.build import build
    from decloud_pl.models.registry import build as build_network
    from decloud_pl.train.callback import DeltaCallback, ProgressCallback
    from decloud_pl.train.datamodule import RoundDataModule
    from decloud_pl.train.encoding import check_fit
    from decloud_pl.train.module import RoundModule
    from decloud_pl.train.precision import resolve_precision
    from decloud_pl.train.score import Scorer

    _quiet()
    torch.set_num_threads(plan.threads)
    seed_everything(plan.seed, workers=True, verbose=False)

    source: Source = build(plan.dataset)
    model = opening.model()
    spec = model.spec
    check_fit(model, source)
    data = RoundDataModule(source, spec.input, batch_size=plan.batch_size, seed=plan.seed)
    scorer = Scorer(source.load("test"), spec.input)

    base = load_file(str(model.weights))
    network = build_network(spec.architecture, spec.hyper_parameters)
    network.load_state_dict(base)
    network.to(memory_format=torch.channels_last)
    before = scorer.accuracy(network)
    on_progress(Progress("baseline", accuracy=before))

    module = RoundModule(network, num_classes=source.num_classes, optimizer=build(plan.optimizer))
    judge = build_network(spec.architecture, spec.hyper_parameters)
    keeper = _Keeper()
    callbacks = [
        ProgressCallback(on_progress),
        DeltaCallback(
            base,
            keeper,
            path=plan.out / UPDATE_FILE,
            network_of=lambda _: network,
            score=lambda state: scorer.accuracy_of(judge, state),
            accuracy_before=before,
            convention=plan.convention,
            gradient_rate=plan.gradient_rate,
            dtype=plan.update_dtype,
        ),
    ]
    trainer: Trainer = build(
        _trainer_node(
            plan, resolve_precision(str(plan.trainer.get("precision")), str(plan.trainer.get("accelerator")))
        ),
        callbacks=callbacks,
    )
    trainer.fit(module, datamodule=data)
    if keeper.update is None:
        raise TrainingError("The training was interrupted.", fix="It is started again.")
    on_progress(Progress("score", accuracy=keeper.update.accuracy_after))
    return keeper.update


def _trainer_node(plan: TrainingPlan, precision: str) -> dict[str, object]:
    """The user's trainer without what a round has no use for: logs, checkpoints and bars cost steps."""
    return {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": str(plan.out),
        **plan.trainer,
        "precision": precision,
        "max_epochs": plan.epochs,
        "limit_train_batches": plan.max_batches or 1.0,
    }


def _quiet() -> None:
    """Lightning's hints for interactive use would only fill the worker's log."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*")
