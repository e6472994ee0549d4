"""From trained weights to an update file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from decloud_pl.domain import Convention, Encoding, Update
from decloud_pl.train.update import delta, lossy

State = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class UpdateWriter:
    """Encodes the difference to the fetched base weights and writes it.

    Attributes:
        base: the fetched base model's state dict, on the processor.
        convention: how entries are written.
        gradient_rate: η of the ``gradient`` convention.
        encoding: of the entries.
        min_kept: share of the accuracy gained that the encoding must keep, or a more exact one is used.
        score: accuracy of a state dict on data that was not trained on; without it the encoding is not measured.
        base_score: what it says of the base model, asked when it is needed; None scores that too.
        note: called with a sentence about the encoding.
    """

    base: State
    convention: Convention = "delta"
    gradient_rate: float = 0.1
    encoding: Encoding = field(default_factory=Encoding)
    min_kept: float = 0.95
    score: Callable[[State], float | None] | None = None
    base_score: Callable[[], float | None] | None = None
    note: Callable[[str], None] | None = None

    def write(self, path: Path, trained: State) -> tuple[Update, State]:
        """Writes an update file atomically.

        Args:
            path: of the file.
            trained: the trained model's state dict.

        Returns:
            The update, its accuracies not measured, and the weights that it leads to when it is read as written.

        Raises:
            TrainingError: see `delta.encode`.
        """
        encoded = lossy.encode(
            self.base,
            trained,
            convention=self.convention,
            gradient_rate=self.gradient_rate,
            wanted=self.encoding,
            min_kept=self.min_kept,
            score=self.score,
            base_score=self.base_score,
        )
        if self.note is not None:
            self.note(encoded.note)
        cid, profile, size = delta.write(path, encoded.entries)
        update = Update(
            path=path,
            cid=cid,
            profile=profile,
            size=size,
            convention=self.convention,
            encoding=str(encoded.encoding),
            gain_kept=encoded.gain_kept,
        )
        return update, encoded.applied
