"""What a worker is told and what it reports. Imports no torch: the daemon writes plans."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from decloud_pl.domain import Convention
from decloud_pl.errors import TrainingError

UpdateDtype = Literal["float32", "float16", "bfloat16"]


@dataclass(frozen=True)
class TrainingPlan:
    """One training, complete: nothing else decides what comes out.

    Attributes:
        base_model: the file from the network, not yet opened.
        out: folder for the update and for working files.
        dataset: a node that `decloud_pl.build` turns into a `Source`.
        optimizer: a partial node over the parameters.
        trainer: a node of Lightning's ``Trainer``.
        max_batches: per epoch, 0 for all.
        gradient_rate: η of the ``gradient`` convention.
        threads: processor threads to use.
    """

    base_model: Path
    out: Path
    dataset: dict[str, Any]
    optimizer: dict[str, Any]
    trainer: dict[str, Any]
    epochs: int = 1
    batch_size: int = 32
    learning_rate: float = 0.001
    max_batches: int = 0
    seed: int = 0
    convention: Convention = "delta"
    gradient_rate: float = 0.1
    update_dtype: UpdateDtype = "float16"
    threads: int = 1

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
            return cls(**{**fields, "base_model": Path(fields["base_model"]), "out": Path(fields["out"])})
        except (ValueError, TypeError, KeyError) as error:
            raise TrainingError("The training plan cannot be read.", fix="The round is planned again.") from error


@dataclass(frozen=True)
class Progress:
    """How far a training has come.

    Attributes:
        stage: ``prepare``, ``baseline``, ``fit``, ``encode`` or ``score``.
        step: optimizer steps so far, of ``total_steps``.
        loss: of the last step.
        accuracy: on the test split, 0 to 1, when it was measured.
    """

    stage: str
    epoch: int = 0
    step: int = 0
    total_steps: int = 0
    loss: float | None = None
    accuracy: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)
