"""A round from Python: what cannot be done is a sentence. Notebooks take the steps that can."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from decloud_pl.chain.wallet import Wallet, create_wallet
from decloud_pl.domain import RoundStatus
from decloud_pl.errors import ConfigError, RoundError, RpcUnavailable
from decloud_pl.localnet.network import LocalNetwork
from decloud_pl.session import Trainer, settings_for
from decloud_pl.settings import Settings


@pytest.fixture
def wallet(tmp_path: Path) -> Wallet:
    return create_wallet(tmp_path / "id.json")


def settings(home: Path, rpc_url: str, *overrides: str) -> Settings:
    return settings_for(
        home, rpc_url=rpc_url, gateway_url="http://127.0.0.1:9", store=home / "store", overrides=overrides
    )


def test_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no setting 'epoch'\. Did you mean 'epochs'\?"):
        settings(tmp_path, "http://127.0.0.1:9", "epoch=2")
    with pytest.raises(ConfigError, match=r"is not an http or https URL\."):
        settings(tmp_path, "127.0.0.1:9")


async def test_nobody_at_the_address(tmp_path: Path, wallet: Wallet) -> None:
    async with Trainer(settings(tmp_path, "http://127.0.0.1:9"), wallet) as trainer:
        with pytest.raises(RpcUnavailable, match=r"127\.0\.0\.1:9 does not answer"):
            await trainer.balance()


async def test_a_network_without_rounds(tmp_path: Path, wallet: Wallet) -> None:
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(LocalNetwork(tmp_path / "network", agents=None))
        trainer = await stack.enter_async_context(Trainer(settings(tmp_path, network.endpoints.rpc_url), wallet))
        assert await trainer.balance() == 0
        await trainer.airdrop(1_000_000_000)
        assert await trainer.balance() == 1_000_000_000
        with pytest.raises(RoundError, match=r"No round was waiting_trainers within 0 s\."):
            await trainer.wait_for(RoundStatus.WAITING_TRAINERS, seconds=0)
        for step in (trainer.join, trainer.train):
            with pytest.raises(RoundError, match=r"The chain knows no round 7\."):
                await step(7)
        assert trainer.training(7) == []
        with pytest.raises(RoundError, match=r"There are no files of round 7\. Train it first\."):
            trainer.folder(7)
