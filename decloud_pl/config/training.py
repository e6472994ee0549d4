"""The part of the configuration that describes a training. A worker gets only this part."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, cast

from decloud_pl.domain import CANDIDATES, Encoding, UpdateDtype
from decloud_pl.ranges import ABOVE_ZERO, FRACTION, ONE_OR_MORE, ZERO_OR_MORE, Range, at_most, one_of, some_of

_RATES = Range(
    "a list of multiples of the learning rate, not all of them 1, like [0.3,1,3]",
    lambda rates: all(0 < rate < float("inf") for rate in rates) and any(rate != 1 for rate in rates),
)
_FIXES_A_TRAINING = (
    *("trainer.max_epochs", "trainer.min_epochs", "trainer.max_steps", "trainer.min_steps", "trainer.max_time"),
    *("trainer.limit_train_batches", "trainer.accumulate_grad_batches", "datamodule.batch_size"),
    *("optimizer", "scheduler", "tune"),
)
"""Settings of how long and how fast a training learns. If the user sets one of them, the training does not compete."""
MERGED = ("module", "datamodule", "callbacks", "trainer")
"""Groups to whose values a recipe adds its own."""
_SETS_THE_RATE = ".StochasticWeightAveraging"
_COUNTS = Range("a list of numbers of at least 1, or []", lambda numbers: all(number >= 1 for number in numbers))


def is_given(name: str, given: Collection[str]) -> bool:
    """Return whether ``given`` contains this setting or a setting below it."""
    return any(f"{one}.".startswith(f"{name}.") for one in given)


@dataclass
class FitConfig:
    """How a training runs on this machine; ``conf/fit`` describes each value.

    The values do not change what the training computes. But the larger ``publish_reserve_seconds`` is, the earlier the
    training must end.
    """

    compile: bool = False
    data_memory_mb: Annotated[int, ZERO_OR_MORE] = 2048
    data_workers: Annotated[int, ZERO_OR_MORE] = 2
    checkpoint_seconds: Annotated[float, ZERO_OR_MORE] = 60.0
    publish_reserve_seconds: Annotated[float, ZERO_OR_MORE] = 60.0


@dataclass
class UpdateConfig:
    """How an update is chosen and written, and whether it is submitted; ``conf/update`` describes each value."""

    dtype: Annotated[str, one_of("float16", "bfloat16", "float32")] = "float16"
    top_k: Annotated[float, FRACTION] = 0.0
    min_kept: Annotated[float, FRACTION] = 0.95
    convention: Annotated[str, one_of("delta", "gradient", "")] = ""
    min_gain: Annotated[float | None, FRACTION] = None
    candidates: Annotated[list[str], some_of(CANDIDATES)] = field(default_factory=lambda: list(CANDIDATES))
    last_fit: bool = False
    force: bool = False

    @property
    def encoding(self) -> Encoding:
        """The encoding of the update's entries."""
        return Encoding(cast(UpdateDtype, self.dtype), self.top_k)


@dataclass
class TuneConfig:
    """The search for a learning rate and a number of epochs; ``conf/tune`` describes each value."""

    method: Annotated[str, one_of("none", "probe")] = "none"
    rates: Annotated[list[float], _RATES] = field(default_factory=lambda: [0.1, 0.3, 1.0, 3.0, 10.0])
    epochs: Annotated[list[int], _COUNTS] = field(default_factory=list)
    most_epochs: Annotated[int, ZERO_OR_MORE] = 10
    batches: Annotated[int, ONE_OR_MORE] = 30
    share: Annotated[float, ABOVE_ZERO, at_most(0.5)] = 0.15
    max_seconds: Annotated[float, ABOVE_ZERO] = 120.0


@dataclass
class TrainingConfig:
    """The configuration of one training. `decloud_pl.build` instantiates each node with a ``_target_``."""

    dataset: dict[str, Any] = field(default_factory=dict)
    module: dict[str, Any] = field(default_factory=dict)
    datamodule: dict[str, Any] = field(default_factory=dict)
    callbacks: dict[str, Any] | None = None
    optimizer: dict[str, Any] = field(default_factory=dict)
    scheduler: dict[str, Any] | None = None
    # The places of epochs and max_batches must exist, even if the user's own file leaves them out.
    trainer: dict[str, Any] = field(default_factory=lambda: {"max_epochs": 1, "limit_train_batches": 1.0})
    fit: FitConfig = field(default_factory=FitConfig)
    logger: dict[str, Any] | None = None
    update: UpdateConfig = field(default_factory=UpdateConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)
    budget: Annotated[str, one_of("compete", "documented")] = "compete"
    budget_seconds: Annotated[float, ABOVE_ZERO] = 600.0
    recipe: dict[str, Any] = field(default_factory=dict)
    seed: int = 0

    def competes(self, given: Collection[str]) -> bool:
        """Return whether the settings let a training use the time until the round's deadline.

        The result is True if ``budget`` is ``compete``, the user has set none of the settings in `_FIXES_A_TRAINING`,
        and no callback sets the learning rate by itself. If it is False, the training uses its settings as they are.
        ``given`` contains the dotted names of the settings that the user has set.
        """
        fixed = any(is_given(one, given) for one in _FIXES_A_TRAINING)
        callbacks = [node for node in (self.callbacks or {}).values() if isinstance(node, Mapping)]
        sets_the_rate = any(str(node.get("_target_")).endswith(_SETS_THE_RATE) for node in callbacks)
        return self.budget == "compete" and not fixed and not sets_the_rate
