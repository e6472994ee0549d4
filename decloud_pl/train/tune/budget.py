"""Plan a training that lasts until its deadline: measure the machine, then choose a recipe and the number of epochs.

The choice is stored in ``budget.json`` with the plan's fingerprint. A restarted training reuses the choice, so the
training can resume from its checkpoint.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decloud_pl.durable import write_atomically
from decloud_pl.train.fit import recipe as recipes
from decloud_pl.train.fit.datamodule import RoundDataModule
from decloud_pl.train.fit.recipe import Recipe
from decloud_pl.train.fit.setup import FitSetup, State
from decloud_pl.train.fit.trainer import make_trainer
from decloud_pl.train.plan import BUDGET_FILE
from decloud_pl.train.progress import Supervisor
from decloud_pl.train.score.choice import seconds_after_the_fit
from decloud_pl.train.tune.race import race
from decloud_pl.train.tune.trial import seconds_per_batch

logger = logging.getLogger(__name__)

_SPARE = 1.5
"""Planned epochs per epoch that fits, so that time ends the training even if the machine was busy while measured."""
_SPARE_OF_OTHERS = 1.1
"""The same for a recipe with a schedule that follows only the steps. More would leave its rate high at the end."""
_FOLLOW_THE_TIME = "decloud_pl.train.fit.schedule."
_LEAST_RACE_SECONDS = 2.0
"""Shorter trainings hardly differ from the base model."""


@dataclass(frozen=True)
class Pace:
    """The measured speed of this machine, and the time that a training may take.

    Attributes:
        per_sample: seconds of training per sample.
        per_scoring: seconds to score half of the held-out part. Each epoch's validation takes this long.
        left: seconds that the fit may take.
    """

    per_sample: float
    per_scoring: float
    left: float

    def epochs(self, samples: int) -> float:
        """Return how many epochs of ``samples`` samples fit into the time, including the validation of each epoch."""
        # A clock may not advance in so short a time.
        return max(0.0, self.left / max(samples * self.per_sample + self.per_scoring, 1e-6))


@dataclass(frozen=True)
class Choice:
    """A planned training.

    Attributes:
        fingerprint: the plan's fingerprint.
        recipe: the recipe's name; empty if no recipe suits, so the training keeps its configured values.
        epochs: the value for Lightning's ``max_epochs``; unused if ``recipe`` is empty.
        seconds: how long the fit may take; unused if ``recipe`` is empty.
        note: a sentence that sums up the choice.
    """

    fingerprint: str
    recipe: str
    epochs: int
    seconds: float
    note: str


def competing(setup: FitSetup, score: Callable[[State], float | None], supervisor: Supervisor) -> FitSetup:
    """Return a setup for a training that lasts until its deadline, but at most ``budget_seconds``.

    Return the setup unchanged if no recipe suits, or if the training has several processes, a custom data module or a
    module that makes its own optimizer.

    Args:
        setup: the round's setup. The training must have a deadline.
        score: returns the accuracy (0 to 1) of given weights on the half of the held-out part that is for choosing.
        supervisor: has the deadline, and receives a sentence about the choice.

    Raises:
        TrainingStopped: a stop was requested.
        ConfigError: a node cannot be built.
    """
    data, known = setup.data, recipes.candidates(setup.config)
    several = make_trainer(setup.plan, [], logger=False).world_size > 1
    if several or setup.has_own_optimizer or not isinstance(data, RoundDataModule):
        return setup
    path, fingerprint = setup.round.folder / BUDGET_FILE, setup.plan.fingerprint()
    choice = read(path, fingerprint)
    if choice is None:
        choice = _planned(setup, data, known, score, supervisor)
        if choice is None:
            return setup
        write_atomically(path, (json.dumps(dataclasses.asdict(choice), indent=2) + "\n").encode())
    supervisor.note("probe", choice.note)
    if not choice.recipe:
        return setup
    return dataclasses.replace(_with(setup, known[choice.recipe], choice.epochs), planned_seconds=choice.seconds)


def _planned(
    setup: FitSetup,
    data: RoundDataModule,
    known: Mapping[str, Recipe],
    score: Callable[[State], float | None],
    supervisor: Supervisor,
) -> Choice | None:
    """Measure this machine and choose a recipe; return None if no recipe is for the data set's kind of samples."""
    kind, samples, fingerprint = data.source.kind, data.training_samples, setup.plan.fingerprint()
    # If the user chose one recipe, the configuration already has its values, and its conditions do not matter.
    is_chosen = bool(recipes.applied(setup.config))

    def suited(*, samples: int, base: float, epochs: float) -> dict[str, Recipe]:
        conditions: dict[str, Any] = {"kind": kind, "samples": samples, "base": base, "epochs": epochs}
        return {name: one for name, one in known.items() if is_chosen or recipes.suits(one, **conditions)}

    of_kind = suited(samples=0, base=1.0, epochs=math.inf)
    if not of_kind:
        return None
    trial = _with(setup, next(iter(of_kind.values())))
    per_sample = seconds_per_batch(trial, supervisor) / trial.config.datamodule["batch_size"]
    data.held_out.select.load()  # only once, so its duration does not belong to that of a scoring
    begun = supervisor.monotonic()
    base = score(setup.state) or 0.0
    per_scoring = supervisor.monotonic() - begun
    left = supervisor.time_left()
    left -= seconds_after_the_fit(setup.candidates, per_scoring, left)
    pace = Pace(per_sample, per_scoring, min(left, setup.config.budget_seconds))
    fitting: Mapping[str, Recipe] = suited(samples=samples, base=base, epochs=pace.epochs(samples))
    share, result = recipes.race_share(setup.config), ""
    if share:
        begun = supervisor.monotonic()
        fitting, result = _raced(setup, fitting, share, pace, samples, score, supervisor)
        pace = dataclasses.replace(pace, left=pace.left - (supervisor.monotonic() - begun))
    choice = choose(fitting, pace, samples=samples, base=base, fingerprint=fingerprint)
    return dataclasses.replace(choice, note=f"{choice.note}{result}")


def _raced(
    setup: FitSetup,
    known: Mapping[str, Recipe],
    share: float,
    pace: Pace,
    samples: int,
    score: Callable[[State], float | None],
    supervisor: Supervisor,
) -> tuple[Mapping[str, Recipe], str]:
    """Race recipes. Return the winner by its name, and a sentence with the results.

    If the race is impossible because there is only one recipe, or because the time is too short to train a model
    visibly, return the recipes unchanged.
    """
    short = dataclasses.replace(pace, left=share * pace.left / max(1, len(known)) - pace.per_scoring)
    if len(known) < 2 or short.left < _LEAST_RACE_SECONDS:
        return known, ""
    fit = short.epochs(samples)
    setups = {name: _with(setup, one, max(1, math.ceil(_spare(one) * fit))) for name, one in known.items()}
    reached = race(setups, seconds=short.left, score=score, supervisor=supervisor)
    best = max(reached, key=lambda name: reached[name])  # the first of several equal ones
    results = ", ".join(f"{name} {100 * accuracy:.1f} %" for name, accuracy in reached.items())
    return {best: known[best]}, f" After {short.left:.0f} s each: {results}."


def choose(suited: Mapping[str, Recipe], pace: Pace, *, samples: int, base: float, fingerprint: str = "") -> Choice:
    """Choose the first of the recipes whose conditions hold, and the number of epochs.

    The number is one and a half times the epochs for which the time is enough, but at most the recipe's ``max_epochs``.
    If the recipe's schedule follows only the steps, it is a tenth more.

    If no recipe's conditions hold, the choice has no recipe, and the training keeps its configured values.

    Args:
        suited: these recipes by name.
        pace: the measured speed of this machine.
        samples: number of samples in the training split.
        base: accuracy of the base model, 0 to 1.
        fingerprint: the plan's fingerprint.
    """
    fit = pace.epochs(samples)
    if not suited:
        note = f"{fit:.1f} epochs fit in {pace.left:.0f} s. No recipe suits that, so the configured values apply."
        return Choice(fingerprint, "", 1, pace.left, note)
    name, recipe = next(iter(suited.items()))
    most = (recipe.get("trainer") or {}).get("max_epochs") or math.inf
    epochs = max(1, math.ceil(min(most, _spare(recipe) * fit)))
    used = f"; {most} are enough" if fit > most else ""
    note = (
        f"The time is enough for {fit:.1f} epochs in {pace.left:.0f} s{used}. "
        f"Recipe {name}, from a base model at {100 * base:.1f} %."
    )
    return Choice(fingerprint, name, epochs, pace.left, note)


def _spare(recipe: Recipe) -> float:
    target = (recipe.get("scheduler") or {}).get("_target_", _FOLLOW_THE_TIME)
    return _SPARE if target.startswith(_FOLLOW_THE_TIME) else _SPARE_OF_OTHERS


def read(path: Path, fingerprint: str) -> Choice | None:
    """Return the stored choice. Return None if it is missing, damaged, or has another fingerprint."""
    try:
        choice = Choice(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        logger.warning("Cannot read %s (%s); the training is planned again", path, error)
        return None
    return choice if choice.fingerprint == fingerprint else None


def _with(setup: FitSetup, recipe: Recipe, epochs: int | None = None) -> FitSetup:
    """Return the setup with a recipe applied, and with a number of epochs if it is given.

    The setup's data module gets the recipe's batch size and augmentation.
    """
    setup = setup.with_nodes(**recipes.nodes(setup.config, recipe, setup.round.given))
    if epochs is not None:
        setup = setup.with_nodes(trainer={**setup.config.trainer, "max_epochs": epochs})
    node, data = setup.config.datamodule, setup.data
    if isinstance(data, RoundDataModule):
        data = data.again(batch_size=node.get("batch_size"), augment=node.get("augment"))
    return dataclasses.replace(setup, data=data)
