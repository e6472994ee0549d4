"""Runs many rounds through one daemon with random faults; measures rewards and leaks."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from decloud_pl.chain.dialects import get_dialect
from decloud_pl.localnet.clock import ScaledClock
from decloud_pl.localnet.network import LocalNetwork
from tests.harness.nursery import Nursery
from tests.harness.parties import ONCE, Parties, history
from tests.harness.proxy import FaultProxy
from tests.harness.trainer import Spec

_AHEAD = 20
_WARM = 0.2
"""The fraction of rounds after which caches are full and the measurement of growth begins."""


@dataclass(frozen=True)
class Soak:
    """The results of a soak test.

    Attributes:
        rounds: the number of posted rounds.
        claimed: the number of rewards that the daemon claimed.
        wrong: the number of rounds without exactly one join, one submission and one claim.
        faults: the fraction of requests with a fault.
        seconds: the duration.
        memory_mb: the daemon's resident memory at the end.
        memory_growth: the relative growth of the resident memory from a fifth of the rounds to the end.
        processes: the number of child processes at the end.
        files: the number of additional file descriptors since the start of the measurement.
        leftovers: the number of files left in the rounds' folders.
    """

    rounds: int
    claimed: int
    wrong: int
    faults: float
    seconds: float
    memory_mb: float
    memory_growth: float
    processes: int
    files: int
    leftovers: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


async def soak(folder: Path, *, rounds: int, faults: float, seconds: float) -> Soak:
    """Run ``rounds`` rounds with faults in a fraction of the requests; raise `TimeoutError` after ``seconds``."""
    nursery = Nursery()
    rounds_folder = folder / "trainer" / "rounds"
    begun = time.monotonic()
    try:
        async with LocalNetwork(folder / "network", agents=None, clock=ScaledClock(20)) as network:
            endpoints = network.endpoints
            proxy = FaultProxy(endpoints.rpc_url, endpoints.ws_url, chance=faults, seed=1, socket="half lost")
            async with proxy:
                spec = Spec(
                    rpc_url=proxy.url,
                    ws_urls=[proxy.ws_url],
                    gateway_url=endpoints.gateway_url,
                    store=str(Path(endpoints.home) / "store"),
                    home=str(folder / "trainer"),
                    seed=3,
                    processes=True,
                    slots=_AHEAD,
                    timeout=2.0,
                    reconcile=5.0,
                )
                me = spec.wallet().address
                network.vm.airdrop(me, 10**12)
                parties = Parties(network, me, rounds=rounds, ahead=_AHEAD)
                pid = await nursery.start(spec, crash_every=10)
                daemon = psutil.Process(pid)
                parties.begin()
                await parties.until_done(int(rounds * _WARM), seconds)
                first = _measure(daemon)
                await parties.until_done(rounds, seconds)
                await _settled(daemon, rounds_folder)
                last = _measure(daemon)
                left = len(daemon.children(recursive=True))
                nursery.signal(signal.SIGTERM)
                assert await nursery.ended() == 0
                wrong = sum(
                    history(network, get_dialect().submission_address(number, me)) != ONCE for number in range(rounds)
                )
    finally:
        nursery.close()
    return Soak(
        rounds=rounds,
        claimed=len(parties.done),
        wrong=wrong,
        faults=faults,
        seconds=round(time.monotonic() - begun, 1),
        memory_mb=round(last[0] / 1e6, 1),
        memory_growth=round(last[0] / first[0] - 1, 4),
        processes=left,
        files=last[1] - first[1],
        leftovers=len(_leftovers(rounds_folder)),
    )


def _measure(process: psutil.Process) -> tuple[int, int]:
    """Return the resident bytes and the open files without connections, whose number changes with the requests."""
    # Private bytes would also grow when a forked process writes to pages that it shared with its parent.
    memory = process.memory_info().rss
    return memory, process.num_fds() - len(process.net_connections())


async def _settled(process: psutil.Process, rounds_folder: Path) -> None:
    """Wait up to 10 s until the last worker has ended and its folder is removed."""
    for _ in range(100):
        if not process.children() and not _leftovers(rounds_folder):
            break
        await asyncio.sleep(0.1)
    await asyncio.sleep(0.5)


def _leftovers(rounds_folder: Path) -> list[Path]:
    # os.walk ignores folders that the daemon removes meanwhile; Path.rglob raises an error.
    return [Path(top, name) for top, folders, files in os.walk(rounds_folder) for name in (*folders, *files)]
