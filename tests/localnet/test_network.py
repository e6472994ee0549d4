"""The complete network as a context manager, for scripts and for notebooks with a running loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sqlite3
import threading
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from solders.keypair import Keypair

from decloud_pl.chain.client import ChainClient
from decloud_pl.chain.dialects import get_dialect
from decloud_pl.chain.rpc import RpcClient
from decloud_pl.chain.send import Sender
from decloud_pl.chain.transaction_log import MemoryTransactionLog
from decloud_pl.chain.wallet import Wallet, load_wallet
from decloud_pl.domain import RoundStatus
from decloud_pl.errors import ConfigError, LocalnetError
from decloud_pl.localnet.network import AgentOptions, LocalNetwork
from decloud_pl.localnet.program import REVISIONS
from decloud_pl.localnet.program.names import TREASURY


def healthy(network: LocalNetwork) -> bool:
    asked = {"jsonrpc": "2.0", "id": 1, "method": "getHealth"}
    return bool(httpx.post(network.endpoints.rpc_url, json=asked).json()["result"] == "ok")


def test_it_runs_in_a_thread_of_its_own_and_leaves_nothing() -> None:
    before = threading.active_count()
    with LocalNetwork(agents=None) as network:
        home = Path(network.endpoints.home)
        assert home.is_dir()
        assert healthy(network)
    assert not home.exists()
    assert threading.active_count() == before


async def test_it_runs_where_a_loop_runs_already() -> None:
    with LocalNetwork(agents=None) as network:
        assert healthy(network)


def test_two_at_a_time_take_other_ports_and_folders() -> None:
    with LocalNetwork(agents=None) as one, LocalNetwork(agents=None) as other:
        assert one.endpoints.rpc_url != other.endpoints.rpc_url
        assert one.endpoints.home != other.endpoints.home


def test_a_folder_of_the_users_is_kept_and_can_be_opened_again(tmp_path: Path) -> None:
    network = LocalNetwork(tmp_path / "network", agents=None)
    for _ in range(2):
        with network:
            assert healthy(network)
            with (
                pytest.raises(LocalnetError, match="Another local network is using"),
                LocalNetwork(tmp_path / "network", agents=None),
            ):
                pass
    assert (tmp_path / "network" / "chain.sqlite").exists()


def test_a_new_network_runs_the_newest_program_and_an_old_one_its_own(tmp_path: Path) -> None:
    with LocalNetwork(agents=None) as network:
        assert (network.dialect, network.endpoints.dialect) == ("v1.2", "v1.2")
        assert (network.convention, network.gradient_rate) == ("delta", 0.1)
    with LocalNetwork(tmp_path, agents=None, dialect="v1.1"):
        pass
    with LocalNetwork(tmp_path, agents=None) as network:
        assert network.endpoints.dialect == "v1.1"
        assert network.convention == "gradient"


def test_another_dialect_than_the_folders_is_refused(tmp_path: Path) -> None:
    with LocalNetwork(tmp_path, agents=None, dialect="v1.0"):
        pass
    with (
        pytest.raises(
            LocalnetError, match=r"runs v1\.0, not v1\.2\. Start it with --dialect v1\.0, or choose another folder"
        ),
        LocalNetwork(tmp_path, agents=None, dialect="v1.2"),
    ):
        pass


def test_a_state_from_before_there_were_dialects_runs_the_first(tmp_path: Path) -> None:
    with LocalNetwork(tmp_path, agents=None, dialect="v1.0"):
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / "chain.sqlite")) as state, state:
        state.execute("DELETE FROM facts WHERE name = 'dialect'")
    with LocalNetwork(tmp_path, agents=None) as network:
        assert network.endpoints.dialect == "v1.0"


def test_a_dialect_that_no_program_speaks_is_refused() -> None:
    with pytest.raises(ConfigError):
        LocalNetwork(dialect="v9")


def test_the_treasury_exists_from_the_start_in_every_revision(tmp_path: Path) -> None:
    for dialect in REVISIONS:
        with LocalNetwork(agents=None, dialect=dialect) as network:
            assert network.vm.balance(TREASURY) == network.vm.rent_exempt_minimum(0)


def chain_of(network: LocalNetwork) -> ChainClient:
    return ChainClient(RpcClient(network.endpoints.rpc_url), get_dialect(network.dialect))


@pytest.mark.slow
async def test_a_running_network_is_upgraded_in_the_middle_of_a_round(tmp_path: Path) -> None:
    options = AgentOptions(rounds=1, interval=0.1, grace=1e9)
    trainer = Wallet(Keypair())
    async with LocalNetwork(tmp_path, agents=options, dialect="v1.0") as network:
        chain = chain_of(network)
        network.vm.airdrop(trainer.address, 10**9)

        async def never() -> bool:
            return False

        async def status() -> RoundStatus | None:
            found = await chain.round(0)
            return None if found is None else found.status

        news = asyncio.Event()
        network.vm.listen(lambda *_: news.set())
        while await status() is not RoundStatus.WAITING_TRAINERS:
            await asyncio.wait_for(news.wait(), 60)
            news.clear()
        sender = Sender(chain.rpc, trainer, get_dialect("v1.0"), MemoryTransactionLog())
        join = get_dialect("v1.0").join_round(0, trainer=trainer.address)
        await sender.send([join], key="join", landed=never)
        await network.upgrade("v1.2")
        assert (network.dialect, network.endpoints.dialect, network.convention) == ("v1.2", "v1.2", "delta")
        joined = await chain.round(0)
        assert joined is not None
        assert (joined.status, joined.trainers_count) == (RoundStatus.WAITING_TRAINERS, 1)
        assert joined.validator is not None
        assert await chain.submission(0, trainer.address) is not None
        # The validator from before the upgrade sends an instruction of the new program.
        validator = load_wallet(keypair_path=tmp_path / "validator.json", environ={})
        newest = get_dialect("v1.2")
        abort = newest.abort_round(0, creator=joined.creator, validator=validator.address)
        as_validator = Sender(chain.rpc, validator, newest, MemoryTransactionLog())
        await as_validator.send([abort], key="abort", landed=never)
        assert await status() is RoundStatus.CANCELLED
        assert await chain.round(1) is None  # the creator keeps its limit on rounds across the upgrade
        await chain.rpc.aclose()
    async with LocalNetwork(tmp_path, agents=None) as network:
        assert network.dialect == "v1.2"


async def test_a_network_in_a_thread_is_upgraded_from_any_loop() -> None:
    with LocalNetwork(agents=None, dialect="v1.1", convention="delta") as network:
        await network.upgrade("v1.2")
        assert (network.dialect, network.convention) == ("v1.2", "delta")
        with pytest.raises(ConfigError):
            await network.upgrade("v3")
    with pytest.raises(LocalnetError, match="is not running"):
        await network.upgrade("v1.2")


def test_one_that_is_not_running_has_no_addresses() -> None:
    with pytest.raises(LocalnetError, match=r"The local network is not running\. Use it inside `with LocalNetwork"):
        _ = LocalNetwork().endpoints


def test_a_client_that_leaves_while_it_sends_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    with LocalNetwork(agents=None) as network:
        address = urlsplit(network.endpoints.rpc_url)
        for _ in range(3):
            with socket.create_connection((address.hostname, address.port)) as client:
                client.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
                assert healthy(network)  # by now, the server is reading the request
        assert healthy(network)
    assert [record.getMessage() for record in caplog.records if record.name.startswith("aiohttp")] == []
