"""A round that its validator aborts ends with that reason, and its costs stay in the journal."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from solders.pubkey import Pubkey

from decloud_pl.chain import borsh
from decloud_pl.chain.anchor import discriminator
from decloud_pl.chain.dialects import get_dialect
from decloud_pl.journal.record import State
from tests.world import World


@dataclass
class Announcer:
    """A WebSocket with events that a test chooses; the test chain does not emit them itself."""

    program: Pubkey
    url: str = ""
    _news: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        await socket.send_json({"jsonrpc": "2.0", "id": 1, "result": 1})
        while not socket.closed:
            await socket.send_str(await self._news.get())
        return socket

    def aborts(self, round_id: int) -> None:
        data = discriminator("event", "RoundAborted") + borsh.u64(round_id) + bytes(32) + borsh.u64(10**9)
        logs = [
            f"Program {self.program} invoke [1]",
            f"Program data: {base64.b64encode(data).decode()}",
            f"Program {self.program} success",
        ]
        params: dict[str, Any] = {"result": {"context": {"slot": 1}, "value": {"err": None, "logs": logs}}}
        self._news.put_nowait(json.dumps({"jsonrpc": "2.0", "method": "logsNotification", "params": params}))


@pytest.fixture
async def announcer(world: World) -> AsyncIterator[Announcer]:
    world.dialect = get_dialect("v1.2")
    found = Announcer(world.dialect.program_id)
    application = web.Application()
    application.router.add_get("/", found.serve)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"ws://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


async def test_a_training_for_a_round_that_is_aborted_ends(world: World, announcer: Announcer) -> None:
    world.executor.gate = asyncio.Event()
    async with world.daemon(ws_url=announcer.url):
        round_id = await world.post()
        await world.diary.reaches(round_id, State.WAITING)
        await world.begin(round_id)
        await world.diary.until(lambda: world.executor.running == 1)
        announcer.aborts(round_id)
        await world.diary.reaches(round_id, State.ABORTED)
        assert (world.executor.cancelled, world.executor.running) == (1, 0)


@pytest.mark.parametrize("until", [State.WAITING, State.SUBMITTED])
async def test_the_programs_word_ends_a_round(world: World, announcer: Announcer, until: State) -> None:
    async with world.daemon(ws_url=announcer.url) as daemon:
        round_id = await world.post()
        await world.diary.reaches(round_id, State.WAITING)
        if until is State.SUBMITTED:
            await world.begin(round_id)
        await world.diary.reaches(round_id, until)
        announcer.aborts(round_id)
        await world.diary.reaches(round_id, State.ABORTED)
        assert [row.round_id for row in daemon.ended] == [round_id]
    row = world.row(round_id)
    assert row.reason == "the validator aborted the round and refunded its creator"
    assert (row.earned, row.update_cid is not None) == (0, until is State.SUBMITTED)
    with world.open_journal() as journal:
        assert journal.get(round_id) == row
        (((_, number), cost),) = journal.all_costs().items()
        assert (number, cost >= world.dialect.submission_deposit) == (round_id, True)
        assert journal.spent_since(0) >= world.dialect.submission_deposit
