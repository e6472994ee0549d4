"""Check a plan before the daemon joins a round. ``python -m decloud_pl.train.check FOLDER`` answers in JSON.

It runs in a separate process. So the process that starts it does not need torch and does not import the user's classes.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from decloud_pl.children import begin_imports, end_imports, open_messages, send
from decloud_pl.errors import DecloudError
from decloud_pl.train.plan import TrainingPlan

_STEPS = 10


def check_plan(plan: TrainingPlan) -> None:
    """Build the parts of a plan that need neither the base model nor the data; check the classes of the other parts.

    Raises:
        ConfigError, TrainingError: the plan would fail in every round.
    """
    import torch

    from decloud_pl.train.fit.optimizers import optimizer_factory, scheduler_factory
    from decloud_pl.train.fit.own_code import check_data, check_module, has_own_optimizer
    from decloud_pl.train.fit.recipe import candidates, nodes
    from decloud_pl.train.fit.trainer import make_callbacks, make_trainer, quiet

    quiet()
    check_module(plan)
    check_data(plan)
    if not has_own_optimizer(plan):
        recipes = candidates(plan.config).values()
        changed = [dataclasses.replace(plan.config, **nodes(plan.config, one, plan.round.given)) for one in recipes]
        for config in changed:
            check_module(dataclasses.replace(plan, config=config))
        for config in (plan.config, *changed):
            make_optimizer = optimizer_factory(config.optimizer, plan.round.allow_packages)
            make_schedule = scheduler_factory(config.scheduler, plan.round.allow_packages)
            optimizer = make_optimizer([torch.nn.Parameter(torch.zeros(1))])
            if make_schedule is not None:
                make_schedule(optimizer, _STEPS)
    make_trainer(plan, make_callbacks(plan))


def main() -> None:
    begin_imports()
    messages = open_messages()
    found: dict[str, str] = {}
    try:
        check_plan(TrainingPlan.read(Path(sys.argv[1])))
    except DecloudError as error:
        found = {"error": error.message, "fix": error.fix}
    end_imports()
    send(messages, found)


if __name__ == "__main__":
    main()
