"""SIGTERM ends a daemon within ``stop_seconds`` in every state, even if its peer hangs.

The daemon runs in its own process, and the time is measured until that process has ended. ``-s`` shows the times.
"""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from decloud_pl.localnet.clock import ScaledClock
from decloud_pl.localnet.network import LocalNetwork
from tests.harness.nursery import Nursery
from tests.harness.parties import Parties
from tests.harness.proxy import Fault, FaultProxy, Kind, Socket
from tests.harness.trainer import Spec
from tests.store.fakes.server import Request, Server

STOP_SECONDS = 2.0
GRACE = 1.0
"""Seconds that the harness's executor gives a training for its checkpoint, in addition to ``stop_seconds``."""
SLACK = 3.0
"""Additional seconds for a busy machine, and for the end of the process itself."""
PATIENCE = 60.0


class Hanging(Server):
    """Accepts every request without an answer, or answers each with a status."""

    def __init__(self, status: int = 0) -> None:
        super().__init__()
        self.status = status

    def handle(self, request: Request) -> None:
        if self.status:
            request.answer(self.status)
        else:
            self.ended.wait(PATIENCE)
            request.hang_up()


@dataclass
class Case:
    """A state and the way to reach it.

    Attributes:
        faults: the faults of the RPC endpoint: kind, methods, number of requests before the first fault.
        gateway: the fault of the gateway: none, ``hangs``, or ``fails``.
        reached: a method of the endpoint, and the number of its requests when the daemon has reached the state.
    """

    faults: Sequence[tuple[Kind, tuple[str, ...], int]] = ()
    gateway: str = ""
    socket: Socket = "ok"
    kubo: bool = False
    verify: str = "cid"
    hangs: str = ""
    starts: bool = True
    reached: tuple[str, int] = ("", 0)
    more: float = field(default=0.0)


SEND = ("sendTransaction",)
ROUNDS = ("getMultipleAccounts",)
CASES: dict[str, Case] = {
    "endpoint away": Case([("deaf", (), 0)], reached=("getBalance", 1)),
    "discovering": Case([("deaf", ROUNDS, 0)], reached=("getMultipleAccounts", 1)),
    "discovering in drips": Case([("half-open", ROUNDS, 0)], reached=("getMultipleAccounts", 1)),
    "verifying a base model": Case(gateway="hangs", verify="model"),
    "joining": Case([("deaf", SEND, 0)], reached=("sendTransaction", 1)),
    "waiting": Case(starts=False),
    "waiting with a silent WebSocket": Case(starts=False, socket="silent"),
    "downloading": Case(gateway="hangs", starts=False),
    "retry backoff": Case(gateway="fails"),
    "training": Case(hangs="fit", more=GRACE),
    "computing the update": Case(hangs="update", more=GRACE),
    "scoring": Case(hangs="score", more=GRACE),
    "publishing": Case(kubo=True),
    "submitting": Case([("deaf", SEND, 1)], reached=("sendTransaction", 2)),
    "claiming": Case([("deaf", SEND, 2)], reached=("sendTransaction", 3)),
}
TIMES: dict[str, float] = {}


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """Shared by all cases, because it imports for a second. Each case has a daemon of its own."""
    found = Nursery()
    yield found
    found.close()


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[LocalNetwork]:
    async with LocalNetwork(tmp_path / "network", agents=None, clock=ScaledClock(1)) as found:
        yield found


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - other processes' doing
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("name", CASES)
async def test_it_stops_in_time(name: str, nursery: Nursery, network: LocalNetwork, tmp_path: Path) -> None:
    case, endpoints, home = CASES[name], network.endpoints, tmp_path / "trainer"
    proxy = FaultProxy(
        endpoints.rpc_url,
        endpoints.ws_url,
        [Fault(kind, methods, skip=skip) for kind, methods, skip in case.faults],
        socket=case.socket,
    )
    try:
        with ExitStack() as stack:
            peer = stack.enter_context(Hanging(503 if case.gateway == "fails" else 0))
            async with proxy:
                spec = Spec(
                    rpc_url=proxy.url,
                    ws_urls=[proxy.ws_url],
                    gateway_url=peer.url if case.gateway else endpoints.gateway_url,
                    store=str(Path(endpoints.home) / "store"),
                    home=str(home),
                    seed=1,
                    processes=bool(case.hangs),
                    hangs=case.hangs,
                    verify=case.verify,
                    timeout=20.0,
                    stop_seconds=STOP_SECONDS,
                )
                if case.kubo:
                    port = peer.url.rpartition(":")[2]
                    spec = dataclasses.replace(spec, kubo=f"/ip4/127.0.0.1/tcp/{port}/http")
                network.vm.airdrop(spec.wallet().address, 10**10)
                parties = Parties(network, spec.wallet().address, rounds=1, starts=case.starts)
                parties.begin()

                def reached() -> bool:
                    if case.reached[0]:
                        return proxy.calls.count(case.reached[0]) >= case.reached[1]
                    if case.gateway or case.kubo:
                        return bool(peer.log)
                    return any(home.glob("rounds/*/hangs")) if case.hangs else bool(parties.joined_at)

                await nursery.start(spec)
                await until(reached)
                begun = time.monotonic()
                nursery.signal(signal.SIGTERM)
                code = await nursery.ended()
                TIMES[name] = time.monotonic() - begun
                print(f"\n{name:34} {TIMES[name]:5.2f} s")
    finally:
        await nursery.end()
    assert code == 0
    assert TIMES[name] < STOP_SECONDS + case.more + SLACK
