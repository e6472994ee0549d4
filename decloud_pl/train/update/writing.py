"""Write trained weights to an update file. If the configured encoding loses too much gain, use a more exact one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch

from decloud_pl.domain import Convention, Encoding, Update
from decloud_pl.train.update import delta

State = Mapping[str, torch.Tensor]


class Encoded(NamedTuple):
    """The entries of an update in the encoding ``encoding``.

    ``applied`` is the state dict that a validator computes from the entries and scores. ``gain_kept`` is the share of
    the gain that remains after encoding; None if the base model was not scored or there was no gain.
    """

    entries: dict[str, torch.Tensor]
    applied: dict[str, torch.Tensor]
    encoding: Encoding
    gain_kept: float | None
    note: str


@dataclass(frozen=True)
class UpdateWriter:
    """Encodes the difference between trained weights and the fetched base weights, and writes it to a file.

    Attributes:
        base: the fetched base model's state dict, in CPU memory.
        convention: the convention in which entries are written.
        gradient_rate: η of the ``gradient`` convention.
        encoding: the configured encoding of the entries.
        min_kept: share of the gain that must remain after encoding. If less remains, a more exact encoding is used.
        score: returns the accuracy of a state dict on data that the training does not use. If ``score`` is None or
            returns None, the configured encoding is used without a check of the remaining gain.
        note: called with a sentence about the encoding.
        prepared: converts the trained state, before it is encoded, to the state that validators score.
    """

    base: State
    convention: Convention = "delta"
    gradient_rate: float = 0.1
    encoding: Encoding = field(default_factory=Encoding)
    min_kept: float = 0.95
    score: Callable[[State], float | None] | None = None
    note: Callable[[str], None] = lambda _: None
    prepared: Callable[[State], State] = lambda state: state

    def write(self, path: Path, trained: State) -> tuple[Update, State]:
        """Write an update file atomically.

        Returns:
            The update, without accuracies; and the state dict that a validator with ``convention`` computes from the
            file.

        Raises:
            TrainingError: see `delta.encode`.
        """
        encoded = self.encode(trained)
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

    def encode(self, trained: State) -> Encoded:
        """Encode a trained state with ``encoding``. If too little of the gain remains, try float16, and then float32.

        Raises:
            TrainingError: see `delta.encode`.
        """
        trained = self.prepared(trained)
        before = after = None
        if self.score is not None:
            before = self.score(self.base)
            after = self.score(trained)
        convention, rate = self.convention, self.gradient_rate
        refused: list[str] = []
        for encoding in dict.fromkeys((self.encoding, Encoding("float16"), Encoding("float32"))):
            entries = delta.encode(self.base, trained, convention=convention, gradient_rate=rate, encoding=encoding)
            applied = delta.apply(self.base, entries, convention=convention, gradient_rate=rate)
            if self.score is None or before is None or after is None or after <= before:
                return Encoded(entries, applied, encoding, None, f"Encoded as {encoding}.")
            kept = ((self.score(applied) or 0.0) - before) / (after - before)
            if kept >= self.min_kept or encoding == Encoding("float32"):
                break
            refused.append(f"{encoding} would keep only {kept:.1%}")
        instead = f" ({'; '.join(refused)})" if refused else ""
        note = f"Encoded as {encoding}, which keeps {kept:.1%} of the gain on held-out data{instead}."
        return Encoded(entries, applied, encoding, kept, note)
