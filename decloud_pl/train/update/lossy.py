"""Which encoding an update gets: the one wanted, unless it costs too much of what was gained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch

from decloud_pl.domain import Convention, Encoding
from decloud_pl.train.update import delta

State = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Encoded:
    """An update in its encoding.

    Attributes:
        entries: of the submission.
        applied: the state a validator will score.
        encoding: how the entries are written.
        gain_kept: share of the accuracy gained that is left, as measured; None when nothing was gained or nothing
            was measured.
        note: for people.
    """

    entries: dict[str, torch.Tensor]
    applied: dict[str, torch.Tensor]
    encoding: Encoding
    gain_kept: float | None
    note: str


def encode(
    base: State,
    trained: State,
    *,
    convention: Convention,
    gradient_rate: float,
    wanted: Encoding,
    min_kept: float,
    score: Callable[[State], float | None] | None,
    base_score: Callable[[], float | None] | None = None,
) -> Encoded:
    """Encodes as wanted; as float16 or at last float32 where less than ``min_kept`` of the gain would be left.

    Args:
        base: the fetched base model.
        trained: the same after training.
        convention: what entries mean.
        gradient_rate: η, for the ``gradient`` convention.
        wanted: the encoding to try first.
        min_kept: share of the accuracy gained that must be left.
        score: accuracy on held-out data; without it, or where it gives None, nothing is measured and the wanted
            encoding is used.
        base_score: gives that of ``base``, where it is known.

    Raises:
        TrainingError: see `delta.encode`.
    """
    before = after = None
    if score is not None:
        before = score(base) if base_score is None else base_score()
        after = score(trained)
    refused: list[str] = []
    for encoding in _from_lossy_to_exact(wanted):
        entries = delta.encode(base, trained, convention=convention, gradient_rate=gradient_rate, encoding=encoding)
        applied = delta.apply(base, entries, convention=convention, gradient_rate=gradient_rate)
        if score is None or before is None or after is None or after <= before:
            return Encoded(entries, applied, encoding, None, f"Encoded as {encoding}.")
        kept = ((score(applied) or 0.0) - before) / (after - before)
        if kept >= min_kept or encoding == Encoding("float32"):
            break
        refused.append(f"{encoding} would keep only {kept:.1%}")
    instead = f" ({'; '.join(refused)})" if refused else ""
    note = f"Encoded as {encoding}, which keeps {kept:.1%} of the accuracy gained on held-out data{instead}."
    return Encoded(entries, applied, encoding, kept, note)


def _from_lossy_to_exact(wanted: Encoding) -> Iterator[Encoding]:
    yield wanted
    if wanted not in (Encoding("float16"), Encoding("float32")):
        yield Encoding("float16")
    if wanted != Encoding("float32"):
        yield Encoding("float32")
