"""One training from plan to update: wiring only, in the order data, model, probe, callbacks, trainer, fit, verdict."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from decloud_pl.data.source import Source
from decloud_pl.domain import Update
from decloud_pl.errors import TrainingDiverged, TrainingError
from decloud_pl.models.quarantine import BaseModelOpening
from decloud_pl.train.plan import Progress, TrainingPlan

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

UPDATE_FILE = "update.pt"
BASE_WEIGHTS_FILE = "base.safetensors"
CHECKPOINT_FILE = "training.ckpt"


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
    """Trains as planned and returns the update, which lies on disk, with the gate's verdict in it.

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
    if finish_at is not None and monotonic() >= finish_at and not (plan.out / CHECKPOINT_FILE).exists():
        raise _no_time()  # before the model and the data are opened for nothing
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
    from decloud_pl.train.average import AverageWeights
    from decloud_pl.train.baseline import BaselineCallback
    from decloud_pl.train.best import BestWeights
    from decloud_pl.train.callback import DeltaCallback, ProgressCallback
    from decloud_pl.train.checkpoint import CheckpointCallback
    from decloud_pl.train.deadline import DeadlineCallback
    from decloud_pl.train.encoding import check_fit
    from decloud_pl.train.finish import Finish, seconds_after_the_fit
    from decloud_pl.train.fitting import Ground, quiet, trainer_node
    from decloud_pl.train.judge import Judge
    from decloud_pl.train.score import HeldOut
    from decloud_pl.train.track import Tracker, allow_files
    from decloud_pl.train.tune import tuned

    quiet()
    torch.set_num_threads(plan.threads)
    seed_everything(plan.seed, workers=True, verbose=False)
    source: Source = build(plan.dataset)
    model = opening.model()
    check_fit(model, source)
    ground = Ground.of(plan, source, model.spec, load_file(str(model.weights)))
    # Packed when first used: a training's first step waits for its own data alone.
    held_out = HeldOut(lambda: source.load("held_out"), model.spec.input)
    judge = Judge.of(plan, ground, held_out)
    network = ground.network()
    plan = tuned(
        plan,
        trainer_node(plan, ground.node),
        network,
        ground.base,
        num_classes=source.num_classes,
        data=ground.data,
        score=judge.select_network,
        finish_at=finish_at,
        stop_requested=stop_requested,
        monotonic=monotonic,
        on_progress=on_progress,
    )

    tracker = Tracker(on_progress)

    def tell(stage: str, *, accuracy: float | None = None, note: str = "") -> None:
        tracker(Progress(stage, accuracy=accuracy, note=note))

    keeper = _Keeper()
    best = BestWeights(
        judge.select_network,
        network_of=lambda _: network,
        report=lambda accuracy: tell("evaluate", accuracy=accuracy),
    )
    callbacks: list[Callback] = [ProgressCallback(tracker), best]
    average = AverageWeights(network_of=lambda _: network) if "average" in plan.remedies else None
    if average is not None:
        callbacks.append(average)
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
            deadline.reserve(seconds_after_the_fit(plan, seconds))

    baseline = BaselineCallback(judge.base_accuracy, on_scored=on_baseline, monotonic=monotonic)
    delta = DeltaCallback(
        ground.base,
        keeper,
        path=plan.out / UPDATE_FILE,
        network_of=lambda _: network,
        writer=judge.writer(plan, note=lambda text: tell("encode", note=text)),
        weights_of=best.weights,
        trained_score=lambda: best.accuracy,
        stopped_early=lambda: deadline is not None and deadline.stopped,
    )
    checkpoint = CheckpointCallback(
        plan.out / CHECKPOINT_FILE,
        fingerprint=plan.fingerprint(),
        every_seconds=ground.options.checkpoint_seconds,
        seed=plan.seed,
        stop_requested=stop_requested,
        monotonic=monotonic,
    )
    callbacks += [baseline, checkpoint, delta]
    allow_files(plan.logger)
    fit = ground.fit(plan, network, callbacks, checkpoint=plan.out / CHECKPOINT_FILE)
    tracker.loggers = fit.trainer.loggers
    if deadline is not None and fit.checkpoint is None and deadline.is_due():
        raise _no_time()

    def finish() -> Finish:
        return Finish(
            plan,
            ground,
            judge,
            delta.writer,
            report=tracker,
            base_scoring=baseline.seconds,
            finish_at=finish_at,
            monotonic=monotonic,
            stop_requested=stop_requested,
            processes=fit.trainer.world_size,
        )

    try:
        fit.run()
    except TrainingDiverged as diverged:
        return finish().instead(diverged, plan.out / UPDATE_FILE)
    if not fit.trainer.is_global_zero:
        return None
    if keeper.update is None:
        raise TrainingError("The training was interrupted.", fix="It is started again.")
    return finish()(
        keeper.update,
        trained=best.weights(network),
        trained_score=best.accuracy,
        average=None if average is None or not average.count else average.weights(network),
    )


def _no_time() -> TrainingError:
    return TrainingError("There is no time left to train before the round's deadline.", fix="Lower the reserve.")


def _early(trainer: Trainer) -> str:
    total = int(trainer.estimated_stepping_batches)
    return f"Stopped after {trainer.global_step:,} of {total:,} steps, in time for the round's deadline."


def _rank_prefix() -> str:
    """Sets the files of further processes apart, which torchrun, SLURM or Lightning started."""
    names = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
    rank = next((os.environ[name] for name in names if os.environ.get(name, "").isdecimal()), "0")
    node = os.environ.get("NODE_RANK", "0") if "RANK" not in os.environ else "0"
    return "" if (rank, node) == ("0", "0") else f"rank-{node}-{rank}-"
