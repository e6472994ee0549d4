"""The local network prints one line for each event of a round."""

from __future__ import annotations

import asyncio
from pathlib import Path

from decloud_pl.journal.record import State
from decloud_pl.localnet.clock import ManualClock
from decloud_pl.localnet.network import LocalNetwork
from tests.world import PATIENCE, World


async def test_a_rounds_life_is_told(tmp_path: Path) -> None:
    said: asyncio.Queue[str] = asyncio.Queue()
    clock = ManualClock()
    async with LocalNetwork(tmp_path / "network", agents=None, clock=clock, say=said.put_nowait) as network:
        (tmp_path / "home").mkdir()
        world = World(network, clock, tmp_path / "home")
        async with world.daemon():
            round_id = await world.post()
            await world.diary.reaches(round_id, State.WAITING)
            await world.begin(round_id)
            await world.diary.reaches(round_id, State.SUBMITTED)
            await world.complete(round_id)
            await world.diary.reaches(round_id, State.CLAIMED)
        async with asyncio.timeout(PATIENCE):
            lines = [await said.get() for _ in range(6)]
        await world.rpc.aclose()
    address = str(world.wallet.address)
    trainer = f"{address[:4]}…{address[-4:]}"
    assert lines == [
        "Round 0: posted, 1 SOL for custom.",
        "Round 0: claimed by its validator, open for trainers.",
        f"Round 0: trainer {trainer} joined, 1 in total.",
        f"Round 0: trainer {trainer} submitted {world.row(0).update_cid}.",
        f"Round 0: scored, {trainer} 100 %.",
        f"Round 0: paid 0.882 SOL to {trainer}.",
    ]
