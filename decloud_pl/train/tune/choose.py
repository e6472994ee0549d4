"""Adjust a training before it starts: to the time until its deadline, or to the result of a probe."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import ParallelStrategy

from decloud_pl.durable import write_atomically
from decloud_pl.train.fit.datamodule import RoundDataModule
from decloud_pl.train.fit.setup import FitSetup, State
from decloud_pl.train.fit.trainer import make_trainer
from decloud_pl.train.plan import PROBE_FILE
from decloud_pl.train.progress import Supervisor
from decloud_pl.train.tune import budget, probe
from decloud_pl.train.tune.trial import LightningCourses

_SCRATCH = "probe"


def tuned(setup: FitSetup, score: Callable[[State], float | None], supervisor: Supervisor) -> FitSetup:
    """Return the setup with the values that were chosen for it, now or in an earlier run of the same plan.

    If the training has a deadline and its settings let it use the time until then (`competes`), `budget.competing`
    chooses a recipe and the number of epochs. This needs a single process; with several, the training keeps the
    configured values. Any other training gets the values that a probe found, if its plan asks for a probe.

    A probe also works for several processes if Lightning starts them on this machine. The first process probes before
    Lightning starts the others, which read the result. Processes that torchrun or SLURM started, or that run on several
    machines, keep the configured values.

    ``score`` returns the accuracy (0 to 1) of a state dict, or None if the accuracy cannot be measured. ``score`` uses
    one half of the held-out part, so that the other half remains for the verdict.

    Raises:
        TrainingStopped: a stop was requested.
        ConfigError: a node cannot be built.
    """
    if setup.config.competes(setup.round.given) and supervisor.finish_at is not None:
        return budget.competing(setup, score, supervisor)
    plan, path = setup.plan, setup.round.folder / PROBE_FILE
    if plan.config.tune.method != "probe":
        return setup
    together = make_trainer(plan, [], logger=False)
    shared = together.world_size == 1 or _can_share(together)
    kept = probe.read(path, plan.fingerprint()) if shared else None
    if kept is not None:
        if together.is_global_zero:
            supervisor.note("probe", f"{kept.note} Reused from the earlier run.")
        return setup.with_nodes(**kept.nodes(setup.config))
    if not together.is_global_zero:
        return setup
    choice = _choice(setup, score, supervisor, shared=shared)
    if shared:
        write_atomically(path, choice.to_json().encode())
    supervisor.note("probe", choice.note)
    return setup.with_nodes(**choice.nodes(setup.config))


def _choice(
    setup: FitSetup, score: Callable[[State], float | None], supervisor: Supervisor, *, shared: bool
) -> probe.TunedValues:
    rate, data = probe.configured_rate(setup.config), setup.data
    if not shared:
        return probe.unchanged(setup.plan, "Probe skipped: the processes must be started by Lightning on one machine.")
    if setup.has_own_optimizer or rate is None:
        return probe.unchanged(setup.plan, "Probe skipped: the optimizer has no lr to search for.")
    if not isinstance(data, RoundDataModule):
        return probe.unchanged(setup.plan, "Probe skipped: it does not support a custom data module.")
    scratch = setup.round.folder / _SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()

    def courses(end: float) -> LightningCourses:
        return LightningCourses(setup, score, folder=scratch, end=end, supervisor=supervisor)

    try:
        return probe.search(
            setup.plan,
            rate=rate,
            make_courses=courses,
            batches_per_epoch=data.batches_per_epoch(setup.config.trainer.get("limit_train_batches")),
            supervisor=supervisor,
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _can_share(trainer: Trainer) -> bool:
    """Return whether all other processes of the training can read the probe's result.

    They can if Lightning starts them on this machine, because it starts them after the probe.
    """
    strategy = trainer.strategy
    if not isinstance(strategy, ParallelStrategy) or trainer.num_nodes != 1:
        return False
    return isinstance(strategy.cluster_environment, LightningEnvironment)
