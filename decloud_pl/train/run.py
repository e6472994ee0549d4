"""One training from plan to update: wiring only, in the order data, model, probe, callbacks, trainer, fit."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from decloud_pl.data.source import Source
from decloud_pl.domain import Update
from decloud_pl.errors import TrainingError
from decloud_pl.models.quarantine import BaseModelOpening
from decloud_pl.train.options import split
from decloud_pl.train.plan import Progress, TrainingPlan

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

UPDATE_FILE = "update.pt"
BASE_WEIGHTS_FILE = "base.safetensors"
CHECKPOINT_FILE = "training.ckpt"

_SCORINGS_AFTER_THE_FIT = 3.0
"""What encoding and scoring may take, in times of the base model's scoring: the held-out split is scored as well."""


class _Keeper:
    """The worker's publisher: keeps the update for the caller, who holds the keys."""

    def __init__(self) -> None:
        self.update: Update | None = None

    def publish(self, update: Update) -> None:
        self.update = update


def train_round(
    plan: TrainingPlan,
    on_progress: Callable[[Progress], None],
    *,
    stop_requested: Callable[[], bool] = lambda: False,
    monotonic: Callable[[], float] = time.monotonic,
    now: Callable[[], float] = time.time,
) -> Update | None:
    """Trains as planned and returns the update, which lies on disk.

    A training of the same plan that was stopped or killed in the same folder goes on from its last checkpoint.

    Args:
        plan: the training.
        on_progress: called in this thread.
        stop_requested: looked at with every batch; a checkpoint is written before the training stops.
        monotonic: seconds, for measuring.
        now: Unix seconds, for the plan's deadline.

    Returns:
        None on all processes but the first, where several train together.

    Raises:
        UntrustedFileRejected: quarantine refused the base model.
        DatasetError: the data set cannot be read.
        TrainingStopped: it was asked to.
        TrainingError: the base model does not fit the data set, there is no time left, or the training failed.
        ConfigError: a node of the plan cannot be built.
    """
    on_progress(Progress("prepare"))
    # The time the clock shows may be set; how long is left until the deadline may not change with it.
    finish_at = None if plan.finish_by is None else monotonic() + plan.finish_by - now()
    # The quarantine's child needs seconds to import torch; this process uses them for the same.
    opening = BaseModelOpening(plan.base_model, plan.out / f"{_rank_prefix()}{BASE_WEIGHTS_FILE}")
    try:
        return _train(plan, opening, on_progress, stop_requested, monotonic, finish_at)
    finally:
        opening.cancel()


def _train(
    plan: TrainingPlan,
    opening: BaseModelOpening,
    on_progress: Callable[[Progress], None],
    stop_requested: Callable[[], bool],
    monotonic: Callable[[], float],
    finish_at: float | None,
) -> Update | None:
    import torch
    from lightning.pytorch import Callback, seed_everything
    from safetensors.torch import load_file

    from decloud_pl.build import build
    from decloud_pl.models.registry import build as build_network
    from decloud_pl.train.baseline import BaselineCallback
    from decloud_pl.train.best import BestWeights
    from decloud_pl.train.callback import DeltaCallback, ProgressCallback
    from decloud_pl.train.checkpoint import CheckpointCallback, usable
    from decloud_pl.train.datamodule import RoundDataModule
    from decloud_pl.train.deadline import DeadlineCallback
    from decloud_pl.train.delta import Encoding
    from decloud_pl.train.encoding import check_fit
    from decloud_pl.train.module import RoundModule
    from decloud_pl.train.optimizers import optimizer_factory, scheduler_factory
    from decloud_pl.train.score import Scorer
    from decloud_pl.train.track import Tracker, allow_files
    from decloud_pl.train.tune import tuned

    _quiet()
    torch.set_num_threads(plan.threads)
    seed_everything(plan.seed, workers=True, verbose=False)
    options, node = split(plan.trainer)

    source: Source = build(plan.dataset)
    model = opening.model()
    spec = model.spec
    check_fit(model, source)
    data = RoundDataModule(
        source,
        spec.input,
        batch_size=plan.batch_size,
        seed=plan.seed,
        max_batches=plan.max_batches,
        memory_bytes=options.data_memory_mb << 20,
        workers=options.data_workers,
    )
    # Packed when first used: a training's first step waits for its own data alone.
    test = Scorer(lambda: source.load("test"), spec.input)
    held_out = Scorer(lambda: source.load("held_out"), spec.input)

    base = load_file(str(model.weights))
    network = build_network(spec.architecture, spec.hyper_parameters)
    network.load_state_dict(base)
    network.to(memory_format=torch.channels_last)
    judge = build_network(spec.architecture, spec.hyper_parameters)
    plan = tuned(
        plan,
        trainer_node(plan, node),
        network,
        base,
        num_classes=source.num_classes,
        data=data,
        score=held_out.accuracy,
        finish_at=finish_at,
        stop_requested=stop_requested,
        monotonic=monotonic,
        on_progress=on_progress,
    )
    module = RoundModule(
        network,
        num_classes=source.num_classes,
        optimizer=optimizer_factory(plan.optimizer),
        scheduler=scheduler_factory(plan.scheduler),
        compiled=options.compile,
    )

    tracker = Tracker(on_progress)

    def tell(stage: str, *, accuracy: float | None = None, note: str = "") -> None:
        tracker(Progress(stage, accuracy=accuracy, note=note))

    keeper = _Keeper()
    best = BestWeights(
        held_out.accuracy, network_of=lambda _: network, report=lambda accuracy: tell("evaluate", accuracy=accuracy)
    )
    callbacks: list[Callback] = [ProgressCallback(tracker), best]
    deadline = None
    if finish_at is not None:
        deadline = DeadlineCallback(
            finish_at,
            monotonic=monotonic,
            on_stop=lambda trainer: tell("fit", note=_early(trainer)),
        )
        callbacks.append(deadline)

    def on_baseline(trainer: Trainer, accuracy: float, seconds: float) -> None:
        on_progress(Progress("baseline", step=trainer.global_step, accuracy=accuracy))
        if deadline is not None:
            deadline.reserve(_SCORINGS_AFTER_THE_FIT * seconds)

    baseline = BaselineCallback(lambda: test.accuracy_of(judge, base), on_scored=on_baseline, monotonic=monotonic)
    callbacks += [
        baseline,
        CheckpointCallback(
            plan.out / CHECKPOINT_FILE,
            fingerprint=plan.fingerprint(),
            every_seconds=options.checkpoint_seconds,
            seed=plan.seed,
            stop_requested=stop_requested,
            monotonic=monotonic,
        ),
        DeltaCallback(
            base,
            keeper,
            path=plan.out / UPDATE_FILE,
            network_of=lambda _: network,
            score=lambda state: test.accuracy_of(judge, state),
            accuracy_before=lambda: baseline.accuracy,
            convention=plan.convention,
            gradient_rate=plan.gradient_rate,
            encoding=Encoding(plan.update_dtype, plan.top_k),
            held_out=lambda state: held_out.accuracy_of(judge, state),
            min_kept=plan.min_kept,
            best=best,
            deadline=deadline,
            note=lambda text: tell("encode", note=text),
        ),
    ]
    allow_files(plan.logger)
    trainer: Trainer = build(trainer_node(plan, node), callbacks=callbacks)
    tracker.loggers = trainer.loggers
    check_strategy(trainer)
    checkpoint = usable(plan.out / CHECKPOINT_FILE, plan.fingerprint())
    if deadline is not None and checkpoint is None and deadline.is_due():
        raise TrainingError("There is no time left to train before the round's deadline.", fix="Lower the reserve.")
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint)
    if not trainer.is_global_zero:
        return None
    if keeper.update is None:
        raise TrainingError("The training was interrupted.", fix="It is started again.")
    on_progress(Progress("score", accuracy=keeper.update.accuracy_after))
    return keeper.update


def trainer_node(plan: TrainingPlan, node: dict[str, object]) -> dict[str, object]:
    """The user's trainer without what a round has no use for: checkpoints and bars cost steps."""
    from decloud_pl.train.precision import resolve_precision, speed_up_gpu

    precision, accelerator = str(node.get("precision")), str(node.get("accelerator"))
    return {
        "logger": plan.logger or False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": str(plan.out),
        **speed_up_gpu(precision, accelerator),
        **node,
        "precision": resolve_precision(precision, accelerator),
        "max_epochs": plan.epochs,
        # The data module limits the batches of an epoch, evaluates and shares among processes itself.
        "limit_train_batches": 1.0,
        "limit_val_batches": 0,
        "use_distributed_sampler": False,
    }


def check_strategy(trainer: Trainer) -> None:
    """Refuses strategies whose processes could not hand the update back.

    Raises:
        TrainingError: it is one of those.
    """
    from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher

    if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
        raise TrainingError("Forked or spawned processes cannot hand the update back.", fix="Use trainer.strategy=ddp.")


def _early(trainer: Trainer) -> str:
    total = int(trainer.estimated_stepping_batches)
    return f"Stopped after {trainer.global_step:,} of {total:,} steps, in time for the round's deadline."


def _rank_prefix() -> str:
    """Sets the files of further processes apart, which torchrun, SLURM or Lightning started."""
    names = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
    rank = next((os.environ[name] for name in names if os.environ.get(name, "").isdecimal()), "0")
    node = os.environ.get("NODE_RANK", "0") if "RANK" not in os.environ else "0"
    return "" if (rank, node) == ("0", "0") else f"rank-{node}-{rank}-"


def _quiet() -> None:
    """Lightning's hints for interactive use would only fill the worker's log."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*")
