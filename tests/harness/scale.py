"""Measures a full reconciliation with many rounds on chain, and the time until a join is sent."""

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
    """The measurements of one reconciliation.

    Attributes:
        rounds: the number of rounds on chain.
        start_cpu_seconds: the CPU time of the daemon's process from its start to the end of the first reconciliation.
        cpu_seconds: the CPU time of a later reconciliation, as the daemon does every hour.
        peak_mb: the peak of the daemon's resident memory.
        requests: the daemon's RPC requests from the opening of a round to the confirmed join.
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
    """Measure with each number of rounds, in ascending order. All but the last few rounds have expired."""
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
    """Return the number of RPC requests of a running daemon for one new round."""
    await nursery.start(spec)
    warm = parties.post()
    await parties.until_joined(warm, 60)
    await asyncio.sleep(3)  # the daemon looks at the round again two seconds after its last event
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
    """Return, for each round, the seconds from its opening for trainers to the join on chain.

    With an architecture, each round has its own base model, which the daemon verifies before the join. Otherwise it
    verifies only CIDs.
    """

    models = folder / "models"
    models.mkdir(parents=True)
    for number in range(rounds):  # before the network runs, because torch is slow
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
