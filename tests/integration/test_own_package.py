"""A daemon with a user's package that cannot train joins no round: it ends at the start with one sentence.

Packages that can train earn in `test_tutorials.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from decloud_pl.chain.wallet import create_wallet
from tests.cli import conftest as cli

home, run = cli.home, cli.run

PACKAGE = '''
import torch
from lightning.pytorch import LightningModule


class Smooth(LightningModule):
    """A module with an optimizer of its own."""

    def __init__(self, network):
        super().__init__()
        self.body = network

    def configure_optimizers(self):
        return torch.optim.AdamW(self.body.parameters(), lr=1e-3)
'''


def test_the_daemon_refuses_it_at_the_start(
    home: Path, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site" / "my_lab").mkdir(parents=True)
    (tmp_path / "site" / "my_lab" / "__init__.py").write_text(PACKAGE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"), prepend=":")
    create_wallet(home / "id.json")
    # No chain answers at this address, so the daemon cannot have asked for a round before it ended.
    settings = [
        "network.rpc_url=http://127.0.0.1:9",
        f"keypair_path={home / 'id.json'}",
        "module._target_=my_lab.Smooth",
    ]

    def refused(*arguments: str) -> str:
        ended = run("start", *settings, *arguments)
        assert ended.code == 3, ended.out + ended.err
        assert "Traceback" not in ended.err
        return str(ended.err)

    assert "'my_lab.Smooth' may not be built from a configuration, because" in refused()
    monkeypatch.setenv("DECLOUD_ALLOW_PACKAGES", "my_lab")
    assert "has its own configure_optimizers, so the setting optimizer has no effect" in refused("optimizer=sgd")
