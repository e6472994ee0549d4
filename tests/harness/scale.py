"""How long a look at everything takes with many rounds on chain, and how quickly a join is sent."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from decloud_pl.localnet.clock import ManualClock, ScaledClock
from decloud_pl.localnet.network import LocalNetwork
from decloud_pl.models.make import make_package, make_spec
from tests.harness.nursery import Nursery
from tests.harness.parties import Parties
from tests.harness.proxy import FaultProxy
from tests.harness.trainer import Spec


@dataclass(frozen=True)
class Scale:
    """One look at everything.

    Attributes:
        rounds: on chain.
        start_cpu_seconds: of the daemon's process, from its start to the end of the first look.
        cpu_seconds: of a further look, as every hour.
        peak_mb: of the daemon's resident memory.
        requests: between a round's opening and the join's landing, by the daemon, with so many rounds on chain.
    """

    rounds: int
    start_cpu_seconds: float
    cpu_seconds: float
    peak_mb: float
    requests: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def _spec(network: LocalNetwork, home: Path, rpc_url: str, ws_url: str) -> Spec:
    endpoints = network.endpoints
    spec = Spec(
        rpc_url=rpc_url,
        ws_urls=[ws_url],
        gateway_url=endpoints.gateway_url,
        store=str(Path(endpoints.home) / "store"),
        home=str(home),
        seed=4,
        slots=1_000,
        timeout=60.0,
        silence=60.0,
        poll=3600.0,
    )
    network.vm.airdrop(spec.wallet().address, 10**12)
    return spec


async def scale(folder: Path, sizes: Sequence[int]) -> list[Scale]:
    """Measures at each number of rounds, ascending. All but the last few rounds are out of date."""
    nursery = Nursery()
    clock = ManualClock()
    found: list[Scale] = []
    try:
        async with LocalNetwork(folder / "network", agents=None, clock=clock) as network:
            endpoints = network.endpoints
            async with FaultProxy(endpoints.rpc_url, endpoints.ws_url) as proxy:
                spec = _spec(network, folder / "trainer", proxy.url, proxy.ws_url)
                parties = Parties(network, spec.wallet().address, rounds=0)
                for size in sizes:
                    parties.post_many(size - parties.posted)
                    clock.advance(3601)
                    await nursery.start(spec, reconcile_only=True)
                    measured = await nursery.answer()
                    assert await nursery.ended() == 0
                    found.append(Scale(size, requests=await _requests(nursery, spec, parties, proxy), **measured))
    finally:
        nursery.close()
    return found


async def _requests(nursery: Nursery, spec: Spec, parties: Parties, proxy: FaultProxy) -> int:
    """How many requests one event leads to in a daemon that is up."""
    await nursery.start(spec)
    warm = parties.post()
    await parties.until_joined(warm, 60)
    await asyncio.sleep(1)
    proxy.calls.clear()
    await parties.until_joined(parties.post(), 60)
    calls = list(proxy.calls)
    nursery.signal(signal.SIGTERM)
    assert await nursery.ended() == 0
    assert "getProgramAccounts" not in calls
    return len(calls)


async def join_latencies(
    folder: Path, rounds: int, *, architecture: str = "", hyper_parameters: Mapping[str, Any] | None = None
) -> list[float]:
    """Seconds from a round's being opened for trainers to the join in the chain, one round after the other.

    With an architecture each round has a base model of its own, which is looked at before the join; otherwise only CIDs
    are looked at.
    """

    models = folder / "models"
    models.mkdir(parents=True)
    for number in range(rounds):  # before the network runs: torch takes its time
        if architecture:
            make_package(models / str(number), make_spec(architecture, hyper_parameters or {}, {}), seed=number)
        else:
            (models / str(number)).write_bytes(b"a base model")

    def make_model(path: Path, number: int) -> None:
        path.hardlink_to(models / str(number))

    nursery = Nursery()
    try:
        async with LocalNetwork(folder / "network", agents=None, clock=ScaledClock()) as network:
            spec = _spec(network, folder / "trainer", network.endpoints.rpc_url, network.endpoints.ws_url)
            spec = replace(spec, verify="model" if architecture else "cid")
            parties = Parties(network, spec.wallet().address, rounds=rounds, make_model=make_model)
            await nursery.start(spec)
            await asyncio.sleep(1)
            parties.begin()
            await parties.until_done(rounds, 300)
            nursery.signal(signal.SIGTERM)
            assert await nursery.ended() == 0
    finally:
        nursery.close()
    return [parties.joined_at[number] - parties.claimed_at[number] for number in range(rounds)]
