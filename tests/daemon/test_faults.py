"""Despite any fault between the daemon and the chain, the reward is claimed and no transaction is paid twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from decloud_pl.chain.dialects import get_dialect
from decloud_pl.localnet.clock import ScaledClock
from decloud_pl.localnet.network import LocalNetwork
from decloud_pl.rounds.events import DaemonEvent, Trouble
from tests.harness.parties import ONCE, REWARD, Parties, history
from tests.harness.proxy import Fault, FaultProxy, Kind, Socket
from tests.harness.trainer import Spec, trainer

SPEED = 20
PATIENCE = 60.0
FUNDS = 10**10
DEPOSIT = 1_733_040
MOST_FEES = 3 * 105_000
SEND = ("sendTransaction",)
READS = ("getMultipleAccounts", "getAccountInfo", "getSignatureStatuses", "getBalance", "getEpochInfo")
STATUS = ("getSignatureStatuses",)
ACCOUNTS = ("getMultipleAccounts", "getAccountInfo")
Given = tuple[Kind, tuple[str, ...], int, int]


@dataclass
class Scenario:
    """The faults of a scenario.

    Attributes:
        faults: the faults of the preferred endpoint: the kind, the methods, and the number of requests with and before
            this fault.
        second: the faults of a second endpoint; None for no second endpoint.
    """

    faults: list[Given] = field(default_factory=list)
    socket: Socket = "ok"
    silent_after: int = 0
    chance: float = 0.0
    seed: int = 0
    second: list[Given] | None = None


ALWAYS = 1_000_000
SCENARIOS: dict[str, Scenario] = {
    "sends whose answer is lost, that never arrive, and that are dropped": Scenario(
        [("answer lost", SEND, 3, 0), ("lost", SEND, 3, 0), ("swallowed", SEND, 3, 0)]
    ),
    "every send and every event doubled": Scenario([("twice", SEND, ALWAYS, 0)], socket="twice"),
    "every answer late": Scenario([("slow", (), ALWAYS, 0)]),
    "bursts of 429 with Retry-After, of 500 and of 503": Scenario(
        [("429", (), 3, 3), ("500", (), 3, 12), ("503", (), 3, 24)]
    ),
    "simulations that are refused, and 429 at every send at first": Scenario(
        [("500", ("simulateTransaction",), 4, 0), ("429 without a word", SEND, 5, 0)]
    ),
    "reads and sends on half-open sockets, and sends into them": Scenario(
        [("half-open", READS, 3, 2), ("half-open", SEND, 2, 0), ("deaf", SEND, 2, 0)]
    ),
    "a captive portal, answers cut in the middle, and reads cut off": Scenario(
        [("garbage", (), 3, 4), ("cut", (), 3, 16), ("lost", READS, 3, 16)]
    ),
    "a silent WebSocket": Scenario(socket="silent"),
    "a WebSocket that goes silent": Scenario(socket="silent", silent_after=2),
    "a WebSocket cut after each event": Scenario(socket="cut"),
    "a lagging second endpoint while the first is away": Scenario(
        [("500", ACCOUNTS, 4, 6)], second=[("stale", ACCOUNTS, ALWAYS, 0)]
    ),
    "a first endpoint that is away for good": Scenario([("503", (), ALWAYS, 8)], second=[]),
    "a first endpoint that comes and goes": Scenario(chance=0.3, seed=5, second=[]),
    "an expired blockhash": Scenario([("stale", ("getLatestBlockhash",), 4, 1)]),
    "sends dropped until the blockhash has run out": Scenario([("swallowed", SEND, 12, 0)]),
    "a fork that loses what was processed": Scenario(
        [("swallowed", SEND, 2, 0), ("processed", STATUS, 3, 0), ("unknown", STATUS, 2, 0)]
    ),
    "one request in five at random": Scenario(chance=0.2, seed=12),
    "one request in five at random and no events": Scenario(chance=0.2, seed=13, socket="refused"),
}


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[LocalNetwork]:
    async with LocalNetwork(tmp_path / "network", agents=None, clock=ScaledClock(SPEED)) as found:
        yield found


@dataclass
class Troubles:
    """Keeps the reported failures."""

    messages: list[str] = field(default_factory=list)

    def report(self, event: DaemonEvent) -> None:
        if isinstance(event, Trouble):
            self.messages.append(event.message)


def spec_of(proxy: FaultProxy, network: LocalNetwork, home: Path, *, timeout: float, poll: float = 0.2) -> Spec:
    return Spec(
        rpc_url=proxy.url,
        ws_urls=[proxy.ws_url],
        gateway_url=network.endpoints.gateway_url,
        store=str(Path(network.endpoints.home) / "store"),
        home=str(home),
        seed=1,
        timeout=timeout,
        silence=max(0.5, timeout),
        poll=poll,
    )


async def test_a_look_that_hangs_holds_up_no_event(network: LocalNetwork, tmp_path: Path) -> None:
    look = Fault("deaf", ("getAccountInfo",), times=1, skip=3)
    async with FaultProxy(network.endpoints.rpc_url, network.endpoints.ws_url, [look]) as proxy:
        spec = spec_of(proxy, network, tmp_path, timeout=2 * PATIENCE, poll=0.01)
        me = spec.wallet().address
        network.vm.airdrop(me, FUNDS)
        parties = Parties(network, me, rounds=2)
        async with trainer(spec) as daemon:
            running = asyncio.create_task(daemon.run())
            await look.began.wait()
            parties.begin()
            await parties.until_done(2, PATIENCE)
            daemon.stop()
            await running


async def test_looks_that_fail_now_and_then_are_told_once(network: LocalNetwork, tmp_path: Path) -> None:
    faults = [Fault("500", ("getAccountInfo",), times=1, skip=3 + number) for number in range(20)]
    async with FaultProxy(network.endpoints.rpc_url, network.endpoints.ws_url, faults, socket="refused") as proxy:
        spec = spec_of(proxy, network, tmp_path, timeout=5.0, poll=0.01)
        troubles = Troubles()
        async with trainer(spec, reporter=troubles) as daemon:
            running = asyncio.create_task(daemon.run())
            await faults[-1].began.wait()
            daemon.stop()
            await running
    assert len(troubles.messages) == 1
    assert "is overloaded (HTTP 500)" in troubles.messages[0]


@pytest.mark.parametrize("name", SCENARIOS)
async def test_the_reward_is_claimed_and_nothing_is_paid_twice(
    name: str, network: LocalNetwork, tmp_path: Path
) -> None:
    scenario, endpoints = SCENARIOS[name], network.endpoints
    first = FaultProxy(
        endpoints.rpc_url,
        endpoints.ws_url,
        [Fault(*one) for one in scenario.faults],
        chance=scenario.chance,
        seed=scenario.seed,
        socket=scenario.socket,
        silent_after=scenario.silent_after,
    )
    second = FaultProxy(endpoints.rpc_url, endpoints.ws_url, [Fault(*one) for one in scenario.second or []])
    async with first, second:
        spec = replace(
            spec_of(first, network, tmp_path / "trainer", timeout=0.5),
            fallbacks=[] if scenario.second is None else [second.url],
        )
        me = spec.wallet().address
        network.vm.airdrop(me, FUNDS)
        parties = Parties(network, me, rounds=2)
        async with trainer(spec) as daemon:
            running = asyncio.create_task(daemon.run())
            parties.begin()
            done = asyncio.create_task(parties.until_done(2, PATIENCE))
            await asyncio.wait({running, done}, return_when=asyncio.FIRST_COMPLETED)
            daemon.stop()
            await running
            await done
    assert not any(fault.times for fault in first.faults if fault.times < ALWAYS // 2)
    for round_id in range(2):
        assert history(network, get_dialect().submission_address(round_id, me)) == ONCE
    earned = 2 * (REWARD * 9 // 10) * 98 // 100  # less the validator's tenth and the treasury's fee
    spent = FUNDS + earned - network.vm.balance(me)
    assert 0 < spent - 2 * DEPOSIT <= 2 * MOST_FEES
