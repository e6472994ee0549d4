"""The gate's verdict on files: it withholds what validators cannot load, and what earns less than it costs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from decloud_pl.domain import Payout
from decloud_pl.train.fit.setup import FitSetup

MakeSetup = Callable[..., FitSetup]


def not_finite(path: Path) -> None:
    entries = torch.load(path, weights_only=True)
    next(iter(entries.values())).view(-1)[0] = float("nan")
    torch.save(entries, path)


def not_finite_and_sparse(path: Path) -> None:
    entries = torch.load(path, weights_only=True)
    name = next(iter(entries))
    entries[name].view(-1)[0] = float("inf")
    torch.save({**entries, name: entries[name].to_sparse()}, path)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants")
@pytest.mark.parametrize("damage", [not_finite, not_finite_and_sparse, truncated])
def test_what_validators_cannot_load_is_withheld(
    damage: Callable[[Path], None], make_setup: MakeSetup, tmp_path: Path
) -> None:
    setup = make_setup("out", payout=Payout(10**9, 1, 5000))
    judge, path = setup.judge(), tmp_path / "update.pt"
    trained = {name: tensor * 1.01 for name, tensor in setup.state.items()}
    judge.writer(setup.config.update, note=lambda _: None).write(path, trained)
    assert judge.verdict(path).passed
    damage(path)
    verdict = judge.verdict(path)
    assert (verdict.gain, verdict.passed) == (None, False)
    assert verdict.withheld.startswith("validators cannot load the update: ")
    assert str(verdict) == f"Nothing will be submitted: {verdict.withheld}."
