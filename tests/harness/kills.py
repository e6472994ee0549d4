"""Kills daemons with SIGKILL and checks the rounds on chain afterwards."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from decloud_pl.chain.dialects import get_dialect
from decloud_pl.localnet.clock import ScaledClock
from decloud_pl.localnet.network import LocalNetwork
from decloud_pl.store.fetch.gateway import GatewayReader
from tests.harness.nursery import Nursery
from tests.harness.parties import ONCE, Parties, history
from tests.harness.trainer import Spec, content_of

POINTS = 18
"""More than the number of writes in a round (rows, signed transactions, outcomes). The last points kill no daemon."""
_PATIENCE = 60.0


@dataclass
class Stage:
    """A network, the spec of a trainer, and the other parties."""

    folder: Path
    network: LocalNetwork
    nursery: Nursery
    spec: Spec
    parties: Parties


@asynccontextmanager
async def stage(folder: Path, *, rounds: int) -> AsyncIterator[Stage]:
    nursery = Nursery()
    try:
        # A fast clock, so that a blockhash expires in seconds if a daemon has to wait for that.
        clock = ScaledClock(10)
        async with LocalNetwork(folder / "network", agents=None, clock=clock) as network:
            endpoints = network.endpoints
            spec = Spec(
                rpc_url=endpoints.rpc_url,
                ws_urls=[endpoints.ws_url],
                gateway_url=endpoints.gateway_url,
                store=str(Path(endpoints.home) / "store"),
                home=str(folder / "trainer"),
                seed=1,
            )
            network.vm.airdrop(spec.wallet().address, 10**11)
            yield Stage(folder, network, nursery, spec, Parties(network, spec.wallet().address, rounds=rounds))
    finally:
        nursery.close()


async def kill_at_every_point(on: Stage) -> list[int]:
    """Kill a daemon at each point, with a new round for each; return the points at which it was killed."""
    nursery, parties = on.nursery, on.parties
    parties.begin()
    killed = []
    for point in range(POINTS):
        await nursery.start(on.spec, kill_at=[point, point])
        over = asyncio.create_task(nursery.ended())
        done = asyncio.create_task(parties.until_done(point + 1, _PATIENCE))
        await asyncio.wait({over, done}, return_when=asyncio.FIRST_COMPLETED)
        if not over.done():
            # The round ended before this point, or the daemon dies at this moment because the point is the last write.
            await asyncio.wait({over}, timeout=0.3)
        if not over.done():
            nursery.signal(signal.SIGKILL)
        else:
            killed.append(point)
        assert await over == -signal.SIGKILL
        done.cancel()
        await asyncio.gather(done, return_exceptions=True)
    await nursery.start(on.spec)
    parties.post()
    await parties.until_done(POINTS + 1, _PATIENCE)
    nursery.signal(signal.SIGTERM)
    assert await nursery.ended() == 0
    return killed


async def kill_at_random(on: Stage, kills: int, *, seed: int = 7) -> int:
    """Kill a daemon ``kills`` times at random moments; return the number of claimed rounds."""
    nursery, parties = on.nursery, on.parties
    parties.begin()
    chance = random.Random(seed)
    # Measure two rounds under the present load, so that kills can hit every part of a round.
    begun = time.monotonic()
    await nursery.start(on.spec)
    await parties.until_done(2, _PATIENCE)
    longest = time.monotonic() - begun
    nursery.signal(signal.SIGKILL)
    assert await nursery.ended() == -signal.SIGKILL
    for _ in range(kills - 1):
        await nursery.start(on.spec)
        await asyncio.sleep(chance.uniform(0.0, longest))
        nursery.signal(signal.SIGKILL)
        assert await nursery.ended() == -signal.SIGKILL
    await nursery.start(on.spec)
    await parties.until_done(len(parties.done) + 2, _PATIENCE)
    nursery.signal(signal.SIGTERM)
    assert await nursery.ended() == 0
    return len(parties.done)


async def wrong_rounds(on: Stage) -> list[int]:
    """Return claimed rounds without exactly one join, submission and claim, or with a CID that does not resolve."""
    reader = GatewayReader([on.network.endpoints.gateway_url])
    trainer = on.spec.wallet().address
    wrong = []
    for round_id in sorted(on.parties.done):
        address = on.parties.dialect.submission_address(round_id, trainer)
        account = on.network.vm.account(address)
        path = on.folder / f"read-back-{round_id}"
        if account is not None:
            cid = get_dialect().decode_submission(bytes(account.data)).gradient_cid
            await asyncio.to_thread(reader.fetch, cid, path, max_bytes=1000)
        if history(on.network, address) != ONCE or account is None or path.read_bytes() != content_of(round_id):
            wrong.append(round_id)
    return wrong
