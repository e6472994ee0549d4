"""A session in a script or a notebook reports errors clearly, never hangs and cleans up."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from decloud_pl import (
    ConfigError,
    JournalLocked,
    LocalnetError,
    LocalNetwork,
    RoundError,
    RpcUnavailable,
    Session,
    UsageError,
    WalletError,
    load_settings,
)
from decloud_pl.chain.wallet import create_wallet
from decloud_pl.config import Settings
from decloud_pl.domain import Update
from decloud_pl.journal.schema import lock
from decloud_pl.localnet.clock import ManualClock
from decloud_pl.loop_thread import LoopThread
from decloud_pl.rounds.events import Changed
from decloud_pl.session import Claim
from decloud_pl.store.ipfs.unixfs import cid_of_file
from tests.world import World


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNetwork]:
    """A network for sessions that join no rounds. Each test uses another home, so that none has another's wallet."""
    with LocalNetwork(tmp_path_factory.mktemp("network"), agents=None, clock=ManualClock()) as found:
        yield found


def nowhere(home: Path) -> Settings:
    create_wallet(home / "id.json")
    return load_settings(
        ["network=local", "network.rpc_url=http://127.0.0.1:9", f"home={home}", f"wallet.keypair_path={home}/id.json"]
    )


def test_a_wrong_setting(network: LocalNetwork, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Unknown setting 'epoch'\. Did you mean 'epochs'\?"):
        Session(network, overrides=["epoch=2"])
    with pytest.raises(ConfigError, match=r"Pass the overrides to load_settings\."):
        Session(nowhere(tmp_path), overrides=["epochs=2"])
    with pytest.raises(ConfigError, match="nowhere"):
        Session("nowhere")


def test_what_is_no_network() -> None:
    with pytest.raises(UsageError, match=r"A session needs a LocalNetwork, the name of a network, or settings"):
        Session(5)  # type: ignore[arg-type]
    with pytest.raises(LocalnetError, match=r"The local network is not running\. Use it inside `with LocalNetwork"):
        Session(LocalNetwork())


def test_nobody_at_the_address(tmp_path: Path) -> None:
    before = threading.active_count()
    with pytest.raises(RpcUnavailable, match=r"127\.0\.0\.1:9 does not answer"), Session(nowhere(tmp_path)):
        pass
    assert threading.active_count() == before


def test_without_a_wallet_it_does_not_open(network: LocalNetwork, tmp_path: Path) -> None:
    with pytest.raises(WalletError, match=r"No private key found\."), Session(network, wallet=tmp_path / "none.json"):
        pass
    with pytest.raises(WalletError, match=r"No private key found\."), Session("local"):
        pass


def test_a_wallet_is_made_filled_and_kept(network: LocalNetwork) -> None:
    session = Session(network)
    with session:
        address = session.address
        assert session.balance() == 1_000_000_000
    with Session(network) as again:
        assert again.address == address
        assert again.balance() == 1_000_000_000
    assert (Path(network.endpoints.home) / "session" / "wallet.json").stat().st_mode & 0o077 == 0


def test_a_session_that_is_not_open(network: LocalNetwork, tmp_path: Path) -> None:
    session = Session(network, home=tmp_path / "home")
    for _ in range(2):
        for ask in (session.balance, session.join_next, lambda: session.join(1), lambda: session.round(1)):
            with pytest.raises(UsageError, match=r"The session is not open\. Use it inside `with Session"):
                ask()
        with session, pytest.raises(UsageError, match="is already open"), session:
            pass


def test_a_network_without_rounds(network: LocalNetwork, tmp_path: Path) -> None:
    with Session(network, home=tmp_path / "home") as session:
        with pytest.raises(RoundError, match=r"No round for these settings was open within 0 s\."):
            session.join_next(timeout=0)
        with pytest.raises(UsageError, match=r"The network has no data set 'custm'\. Did you mean 'custom'\?"):
            session.join_next("custm")
        for ask in (session.join, session.round):
            with pytest.raises(RoundError, match=r"Round 7 does not exist"):
                ask(7)


def test_a_home_where_a_daemon_works(network: LocalNetwork, tmp_path: Path) -> None:
    descriptor = lock(tmp_path / "busy" / "journal.sqlite")
    try:
        with (
            pytest.raises(JournalLocked, match=rf"process {os.getpid()}\) is using .*busy\. Stop that process"),
            Session(network, home=tmp_path / "busy"),
        ):
            pass
    finally:
        os.close(descriptor)
    with Session(network, home=tmp_path / "busy") as session:
        assert session.balance() > 0


@pytest.fixture
def others(tmp_path: Path) -> Iterator[tuple[LoopThread, World]]:
    """A network with creator and validator, in one thread."""
    thread, clock = LoopThread("others"), ManualClock()
    network = LocalNetwork(tmp_path / "network", agents=None, clock=clock)

    async def begin() -> World:
        await network.__aenter__()
        return World(network, clock, tmp_path)

    async def end(world: World) -> None:
        await world.rpc.aclose()
        await network.__aexit__(None, None, None)

    world = thread.run(begin())
    yield thread, world
    thread.run(end(world))
    thread.close()


def test_ctrl_c_while_it_waits_loses_nothing(others: tuple[LoopThread, World], tmp_path: Path) -> None:
    thread, world = others
    network = world.network
    number = thread.run(world.post())
    path = tmp_path / "update.pt"
    path.write_bytes(b"a trained update")
    update = Update(path, str(cid_of_file(path)), "kubo-v1", path.stat().st_size, "delta")
    with Session(network) as session:
        round_ = session.join_next("custom")
        assert (round_.id, round_.reward, round_.dataset) == (number, 980_000_000, "custom")
        assert repr(round_) == f"<round {number}: 0.98 SOL for custom>"
        _interrupted(lambda: round_.publish(update))  # the validator has not started the training
        thread.run(world.begin(number))
        assert round_.publish(update) == update.cid
        _interrupted(round_.claim)  # the validator has not scored the update yet
        assert [event for event in session.events if isinstance(event, Changed)]
    with Session(network) as session:
        assert session.round(number).publish(update) == update.cid


def _interrupted(wait: Callable[[], object]) -> None:
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        wait()


def test_a_claim_reads_like_a_sentence() -> None:
    assert str(Claim(3, 2_550, 229_500_000)) == "Round 3: 25.5 % of the pool, 0.2295 SOL"
