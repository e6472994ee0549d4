"""The local network's validator, without a network."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from decloud_pl.data.source import Source
from decloud_pl.localnet.agents.oracle import Oracle, Samples
from decloud_pl.models import package
from decloud_pl.models.base_model import BaseModel
from decloud_pl.models.quarantine.warm import WarmQuarantine


class Validator:
    """The validator's own code, on the whole test split. Without a quarantine it opens our files directly."""

    def __init__(self, source: Source, quarantine: WarmQuarantine | None) -> None:
        self._source = source
        self._quarantine = quarantine
        self._test: Samples | None = None
        self._oracles: dict[Path, tuple[Oracle, int, BaseModel]] = {}

    def gain(self, base: Path, update: Path) -> float:
        """Return the gain that the validator measures, -1 to 1."""
        oracle, before, model = self._oracle(base)
        if self._quarantine is None:
            entries = torch.load(update, weights_only=True)
        else:
            opened = self._quarantine.open_submission(update, model, update.with_suffix(".safetensors"))
            entries = load_file(str(opened))
        assert self._test is not None  # noqa: S101  # the oracle has it
        return (oracle.with_submission(entries, "delta", 0.1) - before) / len(self._test.labels)

    def _oracle(self, base: Path) -> tuple[Oracle, int, BaseModel]:
        if base not in self._oracles:
            spec, state = package.load(base)
            self._test = self._test or Samples.of(self._source.load("test"), spec.input)
            oracle = Oracle(spec, state, self._test)
            self._oracles[base] = oracle, oracle.baseline(), BaseModel(spec, base, self._source.num_classes)
        return self._oracles[base]
