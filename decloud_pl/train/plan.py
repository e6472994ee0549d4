"""What a worker is told and what it reports. Imports no torch: the daemon writes plans."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from decloud_pl.domain import Convention, RemedyName, UpdateDtype
from decloud_pl.errors import TrainingError

ScoreSplit = Literal["held_out", "test"]
# Decides nothing about what comes out of a training, so that a plan made later goes on from a checkpoint.
_NOT_THE_RESULT = (
    "base_model",
    "out",
    "finish_by",
    "logger",
    "threads",
    "min_kept",
    "top_k",
    "update_dtype",
    "convention",
    "read_as",
    "gradient_rate",
    "min_gain",
    "score_split",
)


_NOT_THE_UPDATE = ("base_model", "out", "finish_by", "logger", "threads", "score_split")
"""Of a plan's fields, those that say nothing about what update comes out and whether it is withheld."""


def same_update(one: str, other: str) -> bool:
    """Whether two plans, as JSON, lead to the same update; anything that is no plan leads to the same as itself."""
    try:
        plans = [json.loads(text) for text in (one, other)]
        kept = [{key: value for key, value in plan.items() if key not in _NOT_THE_UPDATE} for plan in plans]
    except (ValueError, AttributeError):
        return one == other
    return kept[0] == kept[1]


@dataclass(frozen=True)
class ProbeOptions:
    """A search for the learning rate and the number of epochs before the training; see `decloud_pl.train.probe`.

    Attributes:
        rates: multiples of the configured learning rate to try.
        epochs: numbers of epochs to choose from besides the configured one.
        most_epochs: as many epochs as fit before the deadline are a choice too, up to this; 0 for no such choice.
        batches: that every rate is tried for at first.
        share: of the time until the deadline that the search may take.
        max_seconds: the most it may take.
    """

    rates: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0)
    epochs: tuple[int, ...] = ()
    most_epochs: int = 10
    batches: int = 30
    share: float = 0.15
    max_seconds: float = 120.0


@dataclass(frozen=True)
class TrainingPlan:
    """One training, complete: nothing else decides what comes out.

    Attributes:
        base_model: the file from the network, not yet opened.
        out: folder for the update and for working files.
        dataset: a node that `decloud_pl.build` turns into a `Source`.
        optimizer: a partial node over the parameters.
        trainer: a node of Lightning's ``Trainer``, with this package's own `TrainerOptions` among its keys.
        scheduler: a partial node over the optimizer and the number of steps; empty for a constant rate.
        logger: a node of a Lightning logger; empty for none.
        batch_size: of all devices and machines together.
        max_batches: per epoch, 0 for all.
        convention: how the update is written.
        read_as: how this network's validators read it.
        gradient_rate: η of the ``gradient`` convention.
        update_dtype: of the update's floating-point entries.
        top_k: share of the entries to keep, as sparse tensors; 0 keeps all.
        min_kept: share of the accuracy gained that the update's encoding must keep; a lossier one is not used.
        min_gain: accuracy, 0 to 1, that the lower end of the gain's interval must exceed, or the update is withheld.
        remedies: what is tried, in this order, with an update that would be withheld; see `train.remedies`.
        score_split: where the update's accuracies are measured: the held-out data, or the test split that validators
            use, for experiments only. The gate's verdict is by the held-out data in both cases.
        finish_by: Unix seconds of this machine's clock by which the update must be on disk; None for no limit.
        threads: processor threads to use.
        probe: the search before the training; None for none.
    """

    base_model: Path
    out: Path
    dataset: dict[str, Any]
    optimizer: dict[str, Any]
    trainer: dict[str, Any]
    scheduler: dict[str, Any] = field(default_factory=dict)
    logger: dict[str, Any] = field(default_factory=dict)
    epochs: int = 1
    batch_size: int = 32
    learning_rate: float = 0.001
    max_batches: int = 0
    seed: int = 0
    convention: Convention = "delta"
    read_as: Convention = "delta"
    gradient_rate: float = 0.1
    update_dtype: UpdateDtype = "float16"
    top_k: float = 0.0
    min_kept: float = 0.95
    min_gain: float = 0.0
    remedies: tuple[RemedyName, ...] = ()
    score_split: ScoreSplit = "held_out"
    finish_by: float | None = None
    threads: int = 1
    probe: ProbeOptions | None = None

    def to_json(self) -> str:
        fields = dataclasses.asdict(self)
        return json.dumps({**fields, "base_model": str(self.base_model), "out": str(self.out)})

    @classmethod
    def from_json(cls, text: str) -> TrainingPlan:
        """The inverse of `to_json`.

        Raises:
            TrainingError: the text is not a plan of this version.
        """
        try:
            fields = json.loads(text)
            places = {name: Path(fields[name]) for name in ("base_model", "out")}
            probe, remedies = _probe(fields.get("probe")), tuple(fields["remedies"])
            return cls(**{**fields, **places, "probe": probe, "remedies": remedies})
        except (ValueError, TypeError, KeyError) as error:
            raise TrainingError("The training plan cannot be read.", fix="The round is planned again.") from error

    def fingerprint(self) -> str:
        """The same for two plans whose trainings take the same course, step by step."""
        fields = {name: value for name, value in dataclasses.asdict(self).items() if name not in _NOT_THE_RESULT}
        # A published data set is the same in whatever data folder it lies; a user's own path may hold another.
        fields["dataset"] = {name: value for name, value in self.dataset.items() if name != "data"}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _probe(fields: dict[str, Any] | None) -> ProbeOptions | None:
    if fields is None:
        return None
    return ProbeOptions(**{**fields, "rates": tuple(fields["rates"]), "epochs": tuple(fields["epochs"])})


@dataclass(frozen=True)
class Progress:
    """How far a training has come.

    Attributes:
        stage: ``prepare``, ``probe``, ``fit``, ``baseline`` (after the first step), ``evaluate``, ``encode``,
            ``remedy`` or ``score``.
        step: optimizer steps so far, of ``total_steps``.
        loss: of the last step.
        accuracy: 0 to 1, when it was measured, on held-out data: of the base model and of the finished update on the
            half for the verdict (or where the plan's ``score_split`` says), while training on the half for choosing.
        note: a sentence for people; empty when there is nothing to say.
    """

    stage: str
    epoch: int = 0
    step: int = 0
    total_steps: int = 0
    loss: float | None = None
    accuracy: float | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)
