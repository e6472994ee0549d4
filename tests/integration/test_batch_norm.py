"""A round with batch norms in its base model, under a validator that updates only parameters."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from decloud_pl import LocalNetwork, Session
from decloud_pl.localnet.agents.offers import Offer
from decloud_pl.localnet.network import AgentOptions


def test_a_resnet_earns(tmp_path: Path) -> None:
    agents = AgentOptions(rounds=1, offers=(Offer(architecture="resnet"),))
    with LocalNetwork(tmp_path / "network", agents=agents, dialect="v1.0") as network, Session(network) as session:
        round_ = session.join_next()
        base = load_file(str(round_.base_model().weights))
        record = round_.train(["max_batches=6", "update.dtype=float32", "trainer=cpu"])
        entries = torch.load(round_.folder / "update.pt", weights_only=True)
        claim = round_.claim()
    assert claim.contribution_bps == 10_000
    # The gate scores like this revision's validator, and submits only an update with a certain gain.
    assert record.gain_low is not None
    assert record.gain_low > 0
    statistics = [name for name in base if name.endswith(("running_mean", "running_var"))]
    assert statistics
    assert not any(bool(entries[name].any()) for name in statistics)  # no validator would apply them
