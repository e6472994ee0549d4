"""One training from plan to update: base model, data, module, callbacks, trainer, fit, verdict."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from decloud_pl.children import uncollected
from decloud_pl.domain import Update
from decloud_pl.errors import TrainingDiverged, TrainingError
from decloud_pl.models.base_model import BaseModel
from decloud_pl.models.quarantine.opened import OPENED_FILE, record, recorded
from decloud_pl.models.quarantine.opening import BaseModelOpening
from decloud_pl.shortage import shortage
from decloud_pl.train.fit.allocator import reuse_freed_memory
from decloud_pl.train.plan import BASE_WEIGHTS_FILE, CHECKPOINT_FILE, UPDATE_FILE, RoundFile, TrainingPlan
from decloud_pl.train.progress import Progress, Supervisor


def train_round(
    plan: TrainingPlan,
    supervisor: Supervisor,
    *,
    now: float | None = None,
    judged: Callable[[Update], None] = lambda _: None,
) -> Update | None:
    """Train as planned, write the update to disk, and return it with the gate's verdict.

    A stopped or killed training of the same plan in the same folder resumes from its last checkpoint. If several
    processes train together, only the first returns the update; the other processes return None.

    Args:
        plan: the training.
        supervisor: receives the progress, and may stop the training.
        now: current time in Unix seconds, for the plan's deadline. The default is this machine's clock.
        judged: called with the update and its verdict. After that, a last fit may replace the update.

    Raises:
        UntrustedFileRejected: the quarantine refused the base model.
        DatasetError: the data set cannot be read.
        TrainingStopped: a stop was requested.
        TrainingError: the base model does not fit the data set, no time is left, or the training failed.
        ConfigError: a node of the plan cannot be built, or sets an argument that the round must control.
        MachineShortage: this machine has too little disk space, memory or file descriptors.
    """
    reuse_freed_memory()
    supervisor.report(Progress("prepare"))
    supervisor = supervisor.until(plan.round.finish_by, now=time.time() if now is None else now)
    if not (plan.round.folder / CHECKPOINT_FILE).exists():
        supervisor.check_time()  # before we open the model and the data in vain
    try:
        with _opened(plan.round) as base_model:
            return _train(plan, base_model, supervisor, judged)
    except Exception as error:
        missing = shortage(error, places=(plan.round.folder, Path(tempfile.gettempdir())))
        if missing is not None:
            raise missing from error
        raise


@contextmanager
def _opened(round_: RoundFile) -> Iterator[Callable[[], BaseModel]]:
    """Yield a function that waits until the base model is open, and returns it.

    If the folder has no record of this base model, a child process opens it. The child needs seconds to import torch,
    and the caller can do the same in the meantime.
    """
    known = None
    if (round_.folder / OPENED_FILE).is_file() and round_.base_model.is_file():
        with suppress(OSError):  # the quarantine reports it
            known = recorded(round_.folder, round_.base_model_hash)
    if known is not None:
        yield lambda: known
        return
    opening = BaseModelOpening(round_.base_model, round_.folder / f"{_rank_prefix()}{BASE_WEIGHTS_FILE}")

    def opened() -> BaseModel:
        model = opening.model()
        record(model, round_.base_model_hash)
        return model

    try:
        yield opened
    finally:
        opening.cancel()


def _train(
    plan: TrainingPlan,
    base_model: Callable[[], BaseModel],
    supervisor: Supervisor,
    judged: Callable[[Update], None],
) -> Update | None:
    with uncollected():
        import torch
        from lightning.pytorch import seed_everything

        from decloud_pl.train.callbacks.delta import trained_network
        from decloud_pl.train.callbacks.in_round import RoundCallbacks
        from decloud_pl.train.fit.setup import FitSetup
        from decloud_pl.train.fit.trainer import quiet
        from decloud_pl.train.score.finish import Finisher
        from decloud_pl.train.tune.choose import tuned

    quiet()
    torch.set_num_threads(plan.round.threads)
    seed_everything(plan.config.seed, workers=True, verbose=False)
    setup = FitSetup.of(plan, base_model())
    judge = setup.judge()
    setup = tuned(setup, judge.select, supervisor)
    module = setup.module()
    network = trained_network(module, setup.state)
    callbacks = RoundCallbacks.of(setup, network, judge, supervisor)
    fit = setup.fit(module, callbacks.in_order, checkpoint=plan.round.folder / CHECKPOINT_FILE)
    if fit.checkpoint is None:
        supervisor.check_time()
    diverged: TrainingDiverged | None = None
    try:
        fit.run()
    except TrainingDiverged as error:
        diverged = error
    finish = Finisher(setup, judge, callbacks, supervisor, processes=fit.trainer.world_size)
    if diverged is not None:
        return finish.instead(diverged, plan.round.folder / UPDATE_FILE)
    if not fit.trainer.is_global_zero:
        return None
    if callbacks.outbox.update is None:
        raise TrainingError("The training was interrupted.", fix="Start it again.")
    update = finish(callbacks.outbox.update, judged)
    judged(update)
    return finish.with_last_fit(update, steps=fit.trainer.global_step)


def _rank_prefix() -> str:
    """Return a file name prefix that is unique among the processes of this training; "" for the first process.

    torchrun, SLURM or Lightning may start several processes for one training. Without a record of the base model, each
    process opens the model and writes the weights to a separate file.
    """
    names = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
    rank = next((os.environ[name] for name in names if os.environ.get(name, "").isdecimal()), "0")
    node = os.environ.get("NODE_RANK", "0") if "RANK" not in os.environ else "0"
    return "" if (rank, node) == ("0", "0") else f"rank-{node}-{rank}-"
