"""Judge update files on disk by the convention of the validators on the configured Solana network."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from decloud_pl.config.training import UpdateConfig
from decloud_pl.domain import Convention
from decloud_pl.errors import first_line
from decloud_pl.shortage import shortage
from decloud_pl.train.fit.own_data import NotMeasured
from decloud_pl.train.score import gate
from decloud_pl.train.score.gate import Rules, Verdict
from decloud_pl.train.score.scorer import Gain, Scorer, accuracy_of_hits
from decloud_pl.train.update import delta
from decloud_pl.train.update.statistics import with_statistics_of
from decloud_pl.train.update.writing import UpdateWriter

State = Mapping[str, torch.Tensor]


class Halves(Protocol):
    """The two halves of the held-out part: ``select`` for choosing, and ``judge`` for the verdict."""

    select: Scorer
    judge: Scorer


class Judge:
    """Scores state dicts of one model on the two halves of the held-out part.

    Like validators, it applies an update in one of two ways. It applies all entries of an update that is read as
    ``delta``. If the update is read as ``gradient``, it applies the entries of parameters only, and the base model's
    buffers stay in place. Every scoring changes the weights of ``network``.

    If there is no held-out part or it cannot be scored, gains are not measured, and ``unmeasured`` gives the reason.
    Otherwise ``unmeasured`` is empty. ``test_samples`` is the number of samples that validators score on, or None if
    that number is unknown.
    """

    def __init__(
        self,
        network: nn.Module,
        base: State,
        held_out: Halves | None,
        rules: Rules,
        *,
        test_samples: int | None = None,
    ) -> None:
        self._network = network
        self._base = base
        self._held_out = held_out
        self._rules = rules
        self._test_samples = test_samples
        self._parameters = frozenset(name for name, _ in network.named_parameters())
        # The same weights are scored by the validation, the choice, the encoding and the check of the gain.
        self._selected: dict[bytes, torch.Tensor | None] = {}
        self.unmeasured = "" if held_out is not None else "the data module has no validation data"

    def writer(self, update: UpdateConfig, *, note: Callable[[str], None]) -> UpdateWriter:
        """Return a writer of updates with the user's settings. The writer measures encodings on the ``select`` half."""
        return UpdateWriter(
            self._base,
            convention=self._rules.written_as,
            gradient_rate=self._rules.gradient_rate,
            encoding=update.encoding,
            min_kept=update.min_kept,
            score=self.select,
            prepared=self.as_scored,
            note=note,
        )

    def as_scored(self, state: State) -> dict[str, torch.Tensor]:
        """Return the state that validators score when the update of a trained state is submitted.

        If validators do not change buffers, the result has the base model's buffers. Then the trained statistics of
        each batch norm are converted to changes of the parameters of that batch norm.
        """
        if self._rules.read_as == "gradient" and self._parameters != set(self._base):  # the model has buffers
            state = with_statistics_of(self._base, state, self._network)
        return {name: state[name] for name in self._base}

    def load(self) -> None:
        """Read the held-out part, so that the next scoring takes as long as each later one."""
        if self._held_out is not None and not self.unmeasured:
            try:
                self._held_out.select.load()
                self._held_out.judge.load()
            except NotMeasured as error:
                self.unmeasured = error.message

    def select(self, state: State) -> float | None:
        """Return the accuracy (0 to 1) of ``as_scored(state)`` on the ``select`` half; None if not measurable."""
        hits = self._select_hits(state)
        return None if hits is None else accuracy_of_hits(hits)

    def seems_certain(self, state: State) -> bool:
        """Return whether the gain of a state on the ``select`` half is certain in the sense of `Rules.is_certain`.

        If the gain cannot be measured, return True, too.
        """
        before, after = self._select_hits(self._base), self._select_hits(state)
        if before is None or after is None:
            return True
        return self._rules.is_certain(Gain.from_hits(before, after, self._test_samples))

    @cached_property
    def base_hits(self) -> torch.Tensor | None:
        """For each sample of the ``judge`` half, whether the base model predicts it correctly.

        A bool tensor of shape (N,); None if this cannot be measured.
        """
        return self._hits(lambda halves: halves.judge, self._base)

    def base_accuracy(self) -> float | None:
        """Return the base model's accuracy (0 to 1) on the ``judge`` half; None if it cannot be measured."""
        return None if self.base_hits is None else accuracy_of_hits(self.base_hits)

    def verdict(self, path: Path, *, scored: Callable[[], None] = lambda: None) -> Verdict:
        """Judge an update file by its gain in the convention of this network's validators.

        If this gain is not certain, also measure the gain in the other convention for the verdict. ``scored`` is called
        after each scoring.
        """
        try:
            entries: State = torch.load(path, weights_only=True)
            refused = _not_finite(entries)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            if shortage(error) is not None:
                raise
            entries, refused = {}, first_line(error)
        if refused:
            return Verdict(None, f"validators cannot load the update: {refused}")
        gain = self._gain(entries, self._rules.read_as)
        scored()
        if gain is None:
            return Verdict(None, unmeasured=self.unmeasured)
        if self._rules.is_certain(gain):
            return gate.judge(self._rules, gain)
        other = self._gain(entries, "gradient" if self._rules.read_as == "delta" else "delta")
        scored()
        return gate.judge(self._rules, gain, other=other)

    def agreement(self, one: Path, other: Path, *, scored: Callable[[], None] = lambda: None) -> float:
        """Return the share of the held-out part for which two updates give the same prediction; 0 if not measured.

        ``scored`` is called after each scoring.
        """
        if self._held_out is None or _not_finite(torch.load(other, weights_only=True)):
            return 0.0
        same: list[torch.Tensor] = []
        for scorer in (self._held_out.select, self._held_out.judge):
            predictions = []
            for path in (one, other):
                predictions.append(scorer.predictions_of(self._network, self.applied(path)))
                scored()
            same.append(predictions[0] == predictions[1])
        return accuracy_of_hits(torch.cat(same))

    def applied(self, path: Path) -> dict[str, torch.Tensor]:
        """Return the state that validators compute from an update file. They score this state."""
        return self._apply(torch.load(path, weights_only=True), self._rules.read_as)

    def _select_hits(self, state: State) -> torch.Tensor | None:
        scored = self.as_scored(state)
        key = _content(scored)
        if key not in self._selected:
            self._selected[key] = self._hits(lambda halves: halves.select, scored)
        return self._selected[key]

    def _hits(self, half: Callable[[Halves], Scorer], state: State) -> torch.Tensor | None:
        if self._held_out is None or self.unmeasured:
            return None
        try:
            return half(self._held_out).hits_of(self._network, state)
        except NotMeasured as error:
            self.unmeasured = error.message
            return None

    def _apply(self, entries: State, convention: Convention) -> dict[str, torch.Tensor]:
        return delta.apply(
            self._base,
            entries,
            convention=convention,
            gradient_rate=self._rules.gradient_rate,
            parameters=None if convention == "delta" else self._parameters,
        )

    def _gain(self, entries: State, convention: Convention) -> Gain | None:
        hits = self._hits(lambda halves: halves.judge, self._apply(entries, convention))
        if hits is None or self.base_hits is None:
            return None
        return Gain.from_hits(self.base_hits, hits, self._test_samples)


def _content(state: State) -> bytes:
    """Return a digest of a state's names and values."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in state.items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.digest()


def _not_finite(entries: State) -> str:
    """Return a clause that names the first entry with values that are not finite; empty if all values are finite."""
    for name, entry in entries.items():
        values = entry.coalesce().values() if entry.layout is torch.sparse_coo else entry
        if values.is_floating_point() and not bool(torch.isfinite(values).all()):
            return f"{name} has values that are not finite"
    return ""
