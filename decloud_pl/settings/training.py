"""The nodes that a training is built from: the part of the configuration that a worker gets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from decloud_pl.domain import REMEDIES, Encoding, UpdateDtype


@dataclass
class FitConfig:
    """How a training runs on this machine; nothing here changes the result; ``conf/fit`` describes each value."""

    compile: bool = False
    data_memory_mb: int = 2048
    data_workers: int = 2
    checkpoint_seconds: float = 60.0
    publish_reserve_seconds: float = 60.0


@dataclass
class UpdateConfig:
    """How a finished training is written for the validator, and when it is worth submitting; see ``conf/update``."""

    dtype: str = "float16"
    top_k: float = 0.0
    min_kept: float = 0.95
    convention: str = ""
    min_gain: float = 0.0
    remedies: list[str] = field(default_factory=lambda: list(REMEDIES))
    force: bool = False

    @property
    def encoding(self) -> Encoding:
        """How the entries are written."""
        return Encoding(cast(UpdateDtype, self.dtype), self.top_k)


@dataclass
class TuneConfig:
    """A search for the learning rate and the number of epochs before a training; ``conf/tune`` describes each value."""

    method: str = "none"
    rates: list[float] = field(default_factory=lambda: [0.1, 0.3, 1.0, 3.0, 10.0])
    epochs: list[int] = field(default_factory=list)
    most_epochs: int = 10
    batches: int = 30
    share: float = 0.15
    max_seconds: float = 120.0


@dataclass
class TrainingConfig:
    """One training as it is composed: what users vary has a ``_target_``, and `decloud_pl.build` instantiates it."""

    dataset: dict[str, Any] = field(default_factory=dict)
    module: dict[str, Any] = field(default_factory=dict)
    datamodule: dict[str, Any] = field(default_factory=dict)
    callbacks: dict[str, Any] | None = None
    optimizer: dict[str, Any] = field(default_factory=dict)
    scheduler: dict[str, Any] | None = None
    # With what epochs and max_batches stand for, which a file of the user's own may leave out.
    trainer: dict[str, Any] = field(default_factory=lambda: {"max_epochs": 1, "limit_train_batches": 1.0})
    fit: FitConfig = field(default_factory=FitConfig)
    logger: dict[str, Any] | None = None
    update: UpdateConfig = field(default_factory=UpdateConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)
    seed: int = 0
