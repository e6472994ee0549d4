"""Rounds whose base model has batch norms, under validators that change parameters only, and every key."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from decloud_pl import LocalNetwork, Session
from decloud_pl.localnet.agents.offers import Offer
from decloud_pl.localnet.network import AgentOptions


@pytest.mark.parametrize("dialect", ["v1.0", "v1.2"])
def test_a_resnet_earns(dialect: str, tmp_path: Path) -> None:
    agents = AgentOptions(rounds=1, offers=(Offer(architecture="resnet"),))
    with LocalNetwork(tmp_path / "network", agents=agents, dialect=dialect) as network, Session(network) as session:
        round_ = session.join_next()
        base = load_file(str(round_.base_model().weights))
        record = round_.train(["max_batches=30", "trainer=cpu"])
        entries = torch.load(round_.folder / "update.pt", weights_only=True)
        claim = round_.claim()
    assert claim.contribution_bps == 10_000
    # The gate scores as this dialect's validator does, and submits only what surely gains.
    assert record.gain_low is not None
    assert record.gain_low > 0
    statistics = [name for name in base if name.endswith(("running_mean", "running_var"))]
    assert statistics
    assert any(bool(entries[name].any()) for name in statistics) == (dialect == "v1.2")
