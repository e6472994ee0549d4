"""Judges update files as they lie on disk, the way this network's validators read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from decloud_pl.domain import Convention
from decloud_pl.train import delta, gate
from decloud_pl.train.delta import Encoding
from decloud_pl.train.fitting import Ground
from decloud_pl.train.gate import Findings, Rules, Verdict
from decloud_pl.train.plan import TrainingPlan
from decloud_pl.train.score import Gain, HeldOut, accuracy_of_hits
from decloud_pl.train.writing import UpdateWriter

State = Mapping[str, torch.Tensor]


class Judge:
    """Scores states of one model on the two halves of the held-out data.

    Like validators it changes parameters only: whatever buffers are trained to, those of the base model count.

    Args:
        network: of the model's architecture; its weights change with every scoring.
        base: the fetched base model's state dict.
        held_out: the data.
        rules: of the gate.
        test_samples: how many samples validators score on, None where that is not known.
    """

    def __init__(
        self, network: nn.Module, base: State, held_out: HeldOut, rules: Rules, *, test_samples: int | None = None
    ) -> None:
        self._network = network
        self._base = base
        self._held_out = held_out
        self._rules = rules
        self._test_samples = test_samples
        self._parameters = frozenset(name for name, _ in network.named_parameters())

    @classmethod
    def of(cls, plan: TrainingPlan, ground: Ground, held_out: HeldOut) -> Judge:
        """The judge of a plan's updates."""
        rules = Rules(plan.read_as, plan.gradient_rate, plan.convention, plan.min_gain)
        return cls(ground.network(), ground.base, held_out, rules, test_samples=ground.source.test_samples)

    def writer(self, plan: TrainingPlan, *, note: Callable[[str], None]) -> UpdateWriter:
        """Writes updates as a plan wants, their encoding chosen by the half for choosing."""
        return UpdateWriter(
            self._base,
            convention=plan.convention,
            gradient_rate=plan.gradient_rate,
            encoding=Encoding(plan.update_dtype, plan.top_k),
            min_kept=plan.min_kept,
            score=self.select,
            base_score=lambda: self.base_select,
            note=note,
        )

    @property
    def has_buffers(self) -> bool:
        """Whether the model holds values that validators do not change."""
        return self._parameters != set(self._base)

    def as_scored(self, state: State) -> dict[str, torch.Tensor]:
        """A state as validators score it: parameters from it, everything else from the base model."""
        return {name: state[name] if name in self._parameters else tensor for name, tensor in self._base.items()}

    def select(self, state: State) -> float:
        """Accuracy, 0 to 1, on the half for choosing, of a state that `as_scored` completes."""
        return self._held_out.select.accuracy_of(self._network, self.as_scored(state))

    def select_network(self, network: nn.Module) -> float:
        """The same of a network as it is, on the device where it is if no buffer of it must be left out."""
        return self.select(network.state_dict()) if self.has_buffers else self._held_out.select.accuracy(network)

    @cached_property
    def base_select(self) -> float:
        """What `select` says of the base model."""
        return self.select(self._base)

    @cached_property
    def base_hits(self) -> torch.Tensor:
        """Of the base model on the half for the verdict."""
        return self._held_out.judge.hits_of(self._network, self._base)

    def base_accuracy(self) -> float:
        """Of the base model on the half for the verdict, 0 to 1; scores both halves, once."""
        _ = self.base_select
        return accuracy_of_hits(self.base_hits)

    def verdict(self, path: Path) -> Verdict:
        """Reads an update file and judges it; one that does not pass is read in the other ways too, for the cause."""
        entries: State = torch.load(path, weights_only=True)
        gain = self._gain(entries, self._rules.read_as)
        if self._rules.passes(gain):
            return gate.judge(self._rules, Findings(gain))
        other = self._gain(entries, "gradient" if self._rules.read_as == "delta" else "delta")
        whole = self._gain(entries, self._rules.read_as, buffers=True) if self.has_buffers else None
        return gate.judge(self._rules, Findings(gain, other, whole))

    def applied(self, path: Path) -> dict[str, torch.Tensor]:
        """The state that validators score for an update file."""
        return self._apply(torch.load(path, weights_only=True), self._rules.read_as)

    def _apply(self, entries: State, convention: Convention, *, buffers: bool = False) -> dict[str, torch.Tensor]:
        return delta.apply(
            self._base,
            entries,
            convention=convention,
            gradient_rate=self._rules.gradient_rate,
            parameters=None if buffers else self._parameters,
        )

    def _gain(self, entries: State, convention: Convention, *, buffers: bool = False) -> Gain:
        state = self._apply(entries, convention, buffers=buffers)
        hits = self._held_out.judge.hits_of(self._network, state)
        return Gain.from_hits(self.base_hits, hits, self._test_samples)
