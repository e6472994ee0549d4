"""An unattended daemon waits for an unreachable endpoint at the start; a command with a waiting user does not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from solders.keypair import Keypair

from decloud_pl.chain.wallet import Wallet
from decloud_pl.config import Settings, compose
from decloud_pl.daemon.assemble import assemble
from decloud_pl.daemon.startup import ENDLESS, SHORT, StoppedWaiting, answered
from decloud_pl.errors import ConfigError, RpcUnavailable
from decloud_pl.localnet.network import LocalNetwork
from decloud_pl.rounds.events import DaemonEvent, Trouble


class Notes:
    def __init__(self) -> None:
        self.troubles: list[str] = []
        self.news = asyncio.Event()

    def report(self, event: DaemonEvent) -> None:
        if isinstance(event, Trouble):
            self.troubles.append(event.message)
            self.news.set()


def test_the_waits_grow_to_a_minute_and_do_not_end() -> None:
    assert list(islice(ENDLESS.waits(), 12)) == [*SHORT, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0, 60.0, 60.0]


async def test_it_asks_until_it_is_answered_and_says_so() -> None:
    failures = [RpcUnavailable("Nobody is there."), RpcUnavailable("Slow down.", retry_after=0.02)]

    async def ask() -> str:
        if failures:
            raise failures.pop(0)
        return "here"

    notes = Notes()
    assert await answered(ask, notes, [0.01] * 3) == "here"
    assert notes.troubles == ["Nobody is there. Retrying in 0.01 s.", "Slow down. Retrying in 0.02 s."]


async def test_patience_ends_and_what_does_not_pass_is_not_waited_for() -> None:
    async def away() -> None:
        raise RpcUnavailable("Nobody is there.")

    async def wrong() -> None:
        raise ConfigError("Another network.")

    notes = Notes()
    with pytest.raises(RpcUnavailable):
        await answered(away, notes, [0.0, 0.0])
    assert len(notes.troubles) == 2
    with pytest.raises(ConfigError):
        await answered(wrong, notes, ENDLESS.waits())


async def test_being_stopped_ends_the_waiting_at_once() -> None:
    async def away() -> None:
        raise RpcUnavailable("Nobody is there.", retry_after=3600)

    notes, stopping = Notes(), asyncio.Event()
    waiting = asyncio.create_task(answered(away, notes, ENDLESS.waits(), stopping=stopping))
    await asyncio.wait_for(notes.news.wait(), 10)
    assert notes.troubles[0].endswith("Retrying in 300 s.")  # an hour was asked for
    stopping.set()
    with pytest.raises(StoppedWaiting):
        await asyncio.wait_for(waiting, 10)


async def test_a_cancellation_that_comes_with_the_stop_is_not_lost() -> None:
    async def away() -> None:
        raise RpcUnavailable("Nobody is there.", retry_after=3600)

    notes, stopping = Notes(), asyncio.Event()
    waiting = asyncio.create_task(answered(away, notes, ENDLESS.waits(), stopping=stopping))
    await asyncio.wait_for(notes.news.wait(), 10)
    await asyncio.sleep(0)
    stopping.set()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.fixture
def port() -> Iterator[int]:
    """A reserved port without a listener. Only a server with SO_REUSEADDR can take it over.

    The next port, on which a local network has its WebSocket, is reserved as well.
    """
    while True:
        with socket.socket() as sock, socket.socket() as following:
            for one in (sock, following):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", 0))
            number = int(sock.getsockname()[1])
            try:
                following.bind(("127.0.0.1", number + 1))
            except (OSError, OverflowError):  # it is in use, or there is no such port
                continue
            yield number
            return


def settings_of(tmp_path: Path, port: int, *overrides: str) -> Settings:
    address = f"network.rpc_url=http://127.0.0.1:{port}"
    return compose([address, f"home={tmp_path / 'home'}", f"storage.path={tmp_path / 'store'}", *overrides])


async def test_a_service_that_starts_before_its_network_finds_it(tmp_path: Path, port: int) -> None:
    notes = Notes()

    async def start() -> None:
        async with assemble(settings_of(tmp_path, port), Wallet(Keypair()), notes, wait_for_endpoint=True) as daemon:
            running = asyncio.create_task(daemon.run())
            daemon.stop()
            await running

    starting = asyncio.create_task(start())
    await asyncio.wait_for(notes.news.wait(), 30)
    assert f"127.0.0.1:{port}" in notes.troubles[0]
    async with LocalNetwork(tmp_path / "network", rpc_port=port, agents=None):
        await asyncio.wait_for(starting, 30)


@pytest.mark.parametrize(
    ("override", "patient", "kind"),
    [
        ("seed=0", False, RpcUnavailable),
        ("network.rpc_url=ftp://127.0.0.1", True, ConfigError),
        ("network.program_id=nonsense", True, ConfigError),
    ],
)
async def test_a_command_and_a_wrong_configuration_end_at_once(
    override: str, patient: bool, kind: type[Exception], tmp_path: Path, port: int
) -> None:
    async def start() -> None:
        settings = settings_of(tmp_path, port, override)
        async with assemble(settings, Wallet(Keypair()), Notes(), wait_for_endpoint=patient):
            pass

    with pytest.raises(kind):
        await asyncio.wait_for(start(), 10)
