"""A round with batch norms in its base model, under a validator that updates only parameters."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from solders.pubkey import Pubkey

from decloud_pl import LocalNetwork, Session
from decloud_pl.localnet.agents.offers import Offer
from decloud_pl.localnet.network import AgentOptions
from tests.harness.books import check_books, reward_of


def test_a_resnet_earns(tmp_path: Path) -> None:
    # torchvision's network shrinks the images at once, so it costs a fifteenth of this package's resnet.
    agents, home = AgentOptions(rounds=1, offers=(Offer(architecture="resnet18"),)), tmp_path / "network"
    with LocalNetwork(home, agents=agents, dialect="v1.0") as network, Session(network) as session:
        funds = session.balance()
        round_ = session.join_next()
        base = load_file(str(round_.base_model().weights))
        record = round_.train(["max_batches=20", "update.dtype=float32", "trainer=cpu"])
        entries = torch.load(round_.folder / "update.pt", weights_only=True)
        claim = round_.claim()
        trainer, costs = Pubkey.from_string(session.address), funds + claim.lamports - session.balance()
    assert claim.contribution_bps == 10_000
    # The gate scores like this revision's validator, and submits only an update with a certain gain.
    assert record.gain_low is not None
    assert record.gain_low > 0
    statistics = [name for name in base if name.endswith(("running_mean", "running_var"))]
    assert statistics
    assert not any(bool(entries[name].any()) for name in statistics)  # no validator would apply them
    assert claim.lamports == reward_of("v1.0") == 900_000_000
    check_books(home, "v1.0", trainer=trainer, rounds=1, costs=costs)
