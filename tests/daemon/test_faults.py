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
PATIENCE = 20.0
FUNDS = 10**10
DEPOSIT = 1_733_040
MOST_FEES = 3 * 105_000
SEND = ("sendTransaction",)
READS = ("getMultipleAccounts", "getAccountInfo", "getSignatureStatuses", "getBalance", "getEpochInfo")
STATUS = ("getSignatureStatuses",)


@dataclass
class Scenario:
    """The faults of a scenario.

    Attributes:
        faults: the faults of the preferred endpoint.
        second: the faults of a second endpoint; None for no second endpoint.
        skip: the number of first requests without a fault.
    """

    faults: list[tuple[Kind, tuple[str, ...], int]] = field(default_factory=list)
    socket: Socket = "ok"
    silent_after: int = 0
    chance: float = 0.0
    seed: int = 0
    second: list[tuple[Kind, tuple[str, ...], int]] | None = None
    skip: int = 0


ALWAYS = 1_000_000
SCENARIOS: dict[str, Scenario] = {
    "answers lost after the send took effect": Scenario([("answer lost", SEND, 6)]),
    "sends that never arrive": Scenario([("lost", SEND, 6)]),
    "sends taken in and dropped": Scenario([("swallowed", SEND, 3)]),
    "every send doubled": Scenario([("twice", SEND, ALWAYS)]),
    "every answer late": Scenario([("slow", (), ALWAYS)]),
    "reads cut off": Scenario([("lost", READS, 8)]),
    "a burst of 429 with Retry-After": Scenario([("429", (), 4)], skip=3),
    "429 at every send at first": Scenario([("429 without a word", SEND, 5)]),
    "a burst of 500": Scenario([("500", (), 5)], skip=6),
    "503 during a restart": Scenario([("503", (), 6)], skip=12),
    "reads on half-open sockets": Scenario([("half-open", READS, 3)], skip=2),
    "sends on half-open sockets": Scenario([("half-open", SEND, 2)]),
    "sends into half-open sockets": Scenario([("deaf", SEND, 2)]),
    "a captive portal": Scenario([("garbage", (), 4)], skip=4),
    "answers cut in the middle": Scenario([("cut", (), 4)], skip=4),
    "a silent WebSocket": Scenario(socket="silent"),
    "a WebSocket that goes silent": Scenario(socket="silent", silent_after=2),
    "no WebSockets here": Scenario(socket="refused"),
    "a WebSocket cut after each event": Scenario(socket="cut"),
    "every event doubled": Scenario(socket="twice"),
    "half of the events lost": Scenario(socket="half lost", seed=3),
    "a lagging second endpoint while the first is away": Scenario(
        [("500", ("getMultipleAccounts", "getAccountInfo"), 4)],
        second=[("stale", ("getMultipleAccounts", "getAccountInfo"), ALWAYS)],
        skip=6,
    ),
    "a first endpoint that is away for good": Scenario([("503", (), ALWAYS)], second=[], skip=8),
    "a first endpoint that comes and goes": Scenario(chance=0.3, seed=5, second=[]),
    "an expired blockhash": Scenario([("stale", ("getLatestBlockhash",), 4)], skip=1),
    "sends dropped until the blockhash has run out": Scenario([("swallowed", SEND, 12)]),
    "a fork that loses what was processed": Scenario(
        [("swallowed", SEND, 2), ("processed", STATUS, 3), ("unknown", STATUS, 2)]
    ),
    "a simulation that is refused": Scenario([("500", ("simulateTransaction",), 4)]),
    "one request in ten at random": Scenario(chance=0.1, seed=11),
    "one request in five at random": Scenario(chance=0.2, seed=12),
    "one request in five at random and no events": Scenario(chance=0.2, seed=13, socket="refused"),
}


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[LocalNetwork]:
    async with LocalNetwork(tmp_path / "network", agents=None, clock=ScaledClock(SPEED)) as found:
        yield found


def faults_of(given: list[tuple[Kind, tuple[str, ...], int]], skip: int) -> list[Fault]:
    return [
        Fault(kind, methods, times, skip if index == 0 else 0) for index, (kind, methods, times) in enumerate(given)
    ]


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
        faults_of(scenario.faults, scenario.skip),
        chance=scenario.chance,
        seed=scenario.seed,
        socket=scenario.socket,
        silent_after=scenario.silent_after,
    )
    second = FaultProxy(endpoints.rpc_url, endpoints.ws_url, faults_of(scenario.second or [], 0))
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
