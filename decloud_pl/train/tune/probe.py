"""Search for a good learning rate and number of epochs before a training, within a time limit.

Successive halving (`decloud_pl.train.tune.halving`) compares constant learning rates, without the plan's schedule. At a
constant rate, a training of one epoch is the same as the start of a longer training. So the probe does not need a
separate training for each number of epochs. It chooses more epochs than the plan on two conditions: the last doubling
of the number of batches still improved the accuracy, and at the measured speed the epochs end before the deadline.

The result is stored in ``probe.json`` with the plan's fingerprint. A restarted training reads the result instead of
probing again. It then has the same values as its checkpoint, so it can resume from the checkpoint. An interrupted probe
starts from scratch. This module does not import torch.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decloud_pl.config.training import TrainingConfig, TuneConfig
from decloud_pl.train.plan import TrainingPlan
from decloud_pl.train.progress import Progress, Supervisor
from decloud_pl.train.tune.halving import Courses, Found, halve, rungs_of

logger = logging.getLogger(__name__)

_LEAST_SECONDS = 1.0
_SAFE_SHARE = 0.9
"""Share of the remaining time that the epochs may be expected to take."""
_SCORINGS_AFTER_THE_FIT = 4.0


@dataclass(frozen=True)
class TunedValues:
    """The result of a probe.

    Attributes:
        fingerprint: the plan's fingerprint.
        learning_rate: the chosen learning rate.
        epochs: the chosen number of epochs.
        configured_rate: the plan's learning rate.
        configured_epochs: the plan's number of epochs.
        gain: held-out accuracy with the chosen rate minus accuracy with the configured rate, after ``batches`` batches.
            None if no comparison was completed or the configured rate diverged.
        batches: number of batches of the last comparison; 0 if there was none.
        seconds: duration of the probe.
        rungs: every comparison, with its number of batches and the accuracy of each rate. The accuracy is None for a
            rate that diverged.
        note: a sentence that sums up the result.
    """

    fingerprint: str
    learning_rate: float
    epochs: int
    configured_rate: float
    configured_epochs: int
    gain: float | None = None
    batches: int = 0
    seconds: float = 0.0
    rungs: tuple[dict[str, Any], ...] = ()
    note: str = ""

    def nodes(self, config: TrainingConfig) -> dict[str, Any]:
        """Return the nodes ``optimizer`` and ``trainer`` with the chosen values; empty if the plan stays unchanged."""
        if (self.learning_rate, self.epochs) == (self.configured_rate, self.configured_epochs):
            return {}
        optimizer = {**config.optimizer, "lr": self.learning_rate}
        return {"optimizer": optimizer, "trainer": {**config.trainer, "max_epochs": self.epochs}}

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"


def read(path: Path, fingerprint: str) -> TunedValues | None:
    """Return the stored result. Return None if it is missing, damaged, or has another fingerprint."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        choice = TunedValues(**{**fields, "rungs": tuple(fields["rungs"])})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        logger.warning("Cannot read %s (%s); the probe starts from scratch", path, error)
        return None
    return choice if choice.fingerprint == fingerprint else None


def configured_rate(config: TrainingConfig) -> float | None:
    """Return the learning rate in the optimizer's node; None if the node has no positive number as ``lr``."""
    rate = config.optimizer.get("lr")
    return float(rate) if isinstance(rate, (int, float)) and not isinstance(rate, bool) and rate > 0 else None


def seconds_for(options: TuneConfig, left: float | None) -> float:
    """Return how many seconds a probe may take. ``left`` is the time until the deadline; None means no deadline."""
    return options.max_seconds if left is None else min(options.max_seconds, options.share * left)


def search(
    plan: TrainingPlan,
    *,
    rate: float,
    make_courses: Callable[[float], Courses],
    batches_per_epoch: int,
    supervisor: Supervisor,
) -> TunedValues:
    """Train for a short time with several multiples of the plan's learning rate, and return the best values.

    Args:
        plan: the training.
        rate: the plan's learning rate.
        make_courses: makes the short trainings. Its argument is the time when they must end, in the seconds of
            ``supervisor.monotonic``.
        batches_per_epoch: number of training batches in an epoch.
        supervisor: has the deadline, and receives a message after each comparison.
    """
    options, configured, monotonic = plan.config.tune, plan.config.trainer["max_epochs"], supervisor.monotonic
    begun, finish_at = monotonic(), supervisor.finish_at
    seconds = seconds_for(options, None if finish_at is None else finish_at - begun)
    if seconds < _LEAST_SECONDS:
        return unchanged(plan, f"Probe skipped: only {seconds:.1f} s are available for it before the deadline.")
    # Round to twelve digits, so that 3 × 0.1 is shown as 0.3.
    rates = [float(f"{multiple * rate:.12g}") for multiple in dict.fromkeys(options.rates) if multiple != 1]
    longest = batches_per_epoch * max(configured, *options.epochs, 1)
    first = max(1, min(options.batches, longest >> (rungs_of(len(rates)) - 1)))
    end = begun + seconds
    found = halve(
        make_courses(end),
        rates,
        configured=rate,
        first=first,
        longest=longest,
        end=end,
        monotonic=monotonic,
        on_rung=lambda _: supervisor.report(Progress("probe")),
    )
    now = monotonic()
    if not found.rungs:
        text = f"Probe skipped: {seconds:.0f} s are too short to try {len(rates) + 1} learning rates."
        return dataclasses.replace(unchanged(plan, text), seconds=now - begun)
    best = found.best(rate)
    fitting = None if finish_at is None else epochs_that_fit(found, batches_per_epoch, finish_at - now)
    epochs = choose_epochs(configured, options, fitting=fitting, still_gains=found.still_gains(best))
    last = found.last or found.rungs[-1]
    before, after = last.accuracies.get(rate), last.accuracies.get(best)
    choice = TunedValues(
        fingerprint=plan.fingerprint(),
        learning_rate=best,
        epochs=epochs,
        configured_rate=rate,
        configured_epochs=configured,
        gain=None if before is None or after is None else after - before,
        batches=last.batches,
        seconds=round(now - begun, 3),
        rungs=tuple(
            {
                "batches": rung.batches,
                "accuracies": [[tried, accuracy] for tried, accuracy in sorted(rung.accuracies.items())],
            }
            for rung in found.rungs
        ),
    )
    return dataclasses.replace(choice, note=_report(choice, diverged=found.last is None))


def unchanged(plan: TrainingPlan, note: str) -> TunedValues:
    """Return a result that leaves the plan unchanged."""
    rate, epochs = configured_rate(plan.config) or 0.0, plan.config.trainer["max_epochs"]
    return TunedValues(plan.fingerprint(), rate, epochs, rate, epochs, note=note)


def epochs_that_fit(found: Found, batches_per_epoch: int, seconds: float) -> int:
    """Return how many whole epochs, each with its evaluation, fit into ``seconds`` at the measured speed."""
    if found.seconds_per_batch is None:
        return 0
    epoch = batches_per_epoch * found.seconds_per_batch + found.seconds_per_course
    left = _SAFE_SHARE * seconds - _SCORINGS_AFTER_THE_FIT * found.seconds_per_course
    return max(0, int(left / epoch)) if epoch > 0 else 0


def choose_epochs(configured: int, options: TuneConfig, *, fitting: int | None, still_gains: bool) -> int:
    """Choose a number of epochs.

    The options are ``configured``, the numbers in ``options.epochs`` and, if there is a deadline, the smaller one of
    ``fitting`` and ``options.most_epochs``. Options larger than ``fitting`` would miss the deadline.

    - If ``still_gains``, return the largest option that meets the deadline.
    - Otherwise, return the largest option that meets the deadline and is at most ``configured``. If every option that
      meets the deadline is larger than ``configured``, return the smallest of these.
    - If no option meets the deadline, return the smallest option.

    Args:
        configured: the plan's number of epochs.
        options: the settings of the probe.
        fitting: how many epochs end before the deadline; None means no deadline.
        still_gains: whether the last doubling of the number of batches improved the accuracy.
    """
    choices: Sequence[int] = (configured, *options.epochs)
    if fitting is not None:
        choices = (*choices, min(fitting, options.most_epochs))
    fit = [epochs for epochs in choices if epochs >= 1 and (fitting is None or epochs <= fitting)]
    if not fit:
        return min(choice for choice in choices if choice >= 1)
    if still_gains:
        return max(fit)
    return max((epochs for epochs in fit if epochs <= configured), default=min(fit))


def _report(choice: TunedValues, *, diverged: bool) -> str:
    after = f"on held-out data after {choice.batches:,} batches"
    rate, configured = f"{choice.learning_rate:g}", f"{choice.configured_rate:g}"
    if choice.learning_rate != choice.configured_rate:
        bought = (
            f"the training diverges with {configured}"
            if choice.gain is None
            else f"{100 * choice.gain:+.1f} points {after}"
        )
        found = f"learning rate {rate} instead of {configured}: {bought}"
    elif diverged:
        found = f"every learning rate that was tried diverged; keeping {configured}"
    else:
        found = f"keeping learning rate {configured}, because no other rate was clearly better {after}"
    parts = [f"Probe: {found}"]
    if choice.epochs != choice.configured_epochs:
        why = "to meet the deadline" if choice.epochs < choice.configured_epochs else "because it still gains"
        parts.append(f"{choice.epochs} epochs instead of {choice.configured_epochs}, {why}")
    return "; ".join([*parts, f"took {choice.seconds:.0f} s."])
