"""submit.when=late: a published update waits for the last minutes, and no crash, failure or stop makes it miss them."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from solders.keypair import Keypair

from decloud_pl.chain.dialects import get_dialect
from decloud_pl.chain.wallet import Wallet
from decloud_pl.errors import StoreUnavailable
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.reader import JournalReader
from decloud_pl.journal.record import State
from decloud_pl.journal.schema import JOURNAL_FILE
from decloud_pl.rounds.events import Noted
from tests.harness.nursery import Nursery
from tests.harness.parties import ONCE, history
from tests.harness.proxy import Fault, FaultProxy
from tests.harness.trainer import Spec
from tests.world import PATIENCE, World

SECONDS = 3600
"""What the local network leaves for a training."""


async def post_with_rival(world: World) -> int:
    """Post a round that a rival has joined."""
    round_id = await world.post()
    rival = Wallet(Keypair())
    world.network.vm.airdrop(rival.address, 10**9)
    await world.as_other(world.dialect.join_round(round_id, trainer=rival.address), signer=rival)
    return round_id


async def begin(world: World) -> int:
    """Start a round that a rival and this trainer have joined."""
    round_id = await post_with_rival(world)
    await world.diary.reaches(round_id, State.WAITING)
    await world.begin(round_id)
    return round_id


async def is_submitted(world: World, round_id: int) -> bool:
    return (await world.submission(round_id)).submitted


async def test_it_is_published_early_and_submitted_in_the_last_minutes(world: World) -> None:
    async with world.daemon(submit_late=True):
        round_id = await begin(world)
        await world.diary.reaches(round_id, State.READY)
        world.clock.advance(SECONDS - 600)
        await world.diary.looks(round_id, 2)
        assert not await is_submitted(world, round_id)
        assert world.row(round_id).pinned_cid is not None
        # It occupies no slot: the only slot goes to the next round.
        other = await world.post()
        await world.diary.reaches(other, State.WAITING)
        world.clock.advance(500)
        await world.diary.reaches(round_id, State.SUBMITTED)
    assert world.store.puts == 1
    assert world.diary.states(round_id)[-4:] == [State.PUBLISHING, State.READY, State.SUBMITTING, State.SUBMITTED]


async def test_it_is_submitted_without_another_training_although_its_file_is_gone(world: World) -> None:
    async with world.daemon(submit_late=True):
        round_id = await begin(world)
        await world.diary.reaches(round_id, State.READY)
        (world.home / "rounds" / str(round_id) / "update.pt").unlink()
        world.clock.advance(SECONDS - 100)
        await world.diary.reaches(round_id, State.SUBMITTED)
    assert (world.executor.trained, world.store.puts) == (1, 1)


@pytest.mark.parametrize(("minutes", "puts"), [(1, 1), (10, 2)])
async def test_what_the_store_has_lost_is_uploaded_again_before_the_submission(
    minutes: int, puts: int, world: World
) -> None:
    ahead = [0.0]
    async with world.daemon(submit_late=True, monotonic=lambda: time.monotonic() + ahead[0]):
        round_id = await begin(world)
        await world.diary.reaches(round_id, State.READY)
        cid = world.row(round_id).pinned_cid
        world.network.store.gc(keep=[])
        ahead[0] = 60.0 * minutes
        world.clock.advance(SECONDS - 100)
        await world.diary.reaches(round_id, State.SUBMITTED)
    assert world.store.puts == puts
    assert world.network.store.cids() == [cid] * (puts - 1)
    assert (await world.submission(round_id)).gradient_cid == cid


async def test_a_store_that_fails_does_not_hold_up_the_submission(world: World) -> None:
    ahead = [0.0]
    async with world.daemon(submit_late=True, monotonic=lambda: time.monotonic() + ahead[0]):
        round_id = await begin(world)
        await world.diary.reaches(round_id, State.READY)
        world.network.store.gc(keep=[])
        world.store.failures = [StoreUnavailable("It is down.")]
        ahead[0] = 600.0
        world.clock.advance(SECONDS - 100)
        await world.diary.reaches(round_id, State.SUBMITTED)
    assert Noted(round_id, "It is down. The update is submitted nevertheless.") in world.diary.events


async def test_early_and_a_round_without_a_rival_do_not_wait(world: World) -> None:
    async with world.daemon(submit_late=True):
        alone = await world.post()
        await world.diary.reaches(alone, State.WAITING)
        await world.begin(alone)
        await world.diary.reaches(alone, State.SUBMITTED)
    async with world.daemon():
        shared = await begin(world)
        await world.diary.reaches(shared, State.SUBMITTED)
    assert State.READY not in world.diary.states(alone) + world.diary.states(shared)


async def test_a_stop_submits_it_at_once(world: World) -> None:
    async with world.daemon(submit_late=True) as daemon:
        round_id = await begin(world)
        await world.diary.reaches(round_id, State.READY)
        assert f"The current step of round {round_id} finishes first" in daemon.stop_words
    assert steps_on_chain(world, round_id) == ONCE[:2]


@pytest.fixture(scope="module")
def forks() -> Iterator[Nursery]:
    """Shared by all tests, because it imports for a second. Each test has daemons of its own."""
    found = Nursery()
    yield found
    found.close()


@pytest.fixture
async def nursery(forks: Nursery) -> AsyncIterator[Nursery]:
    yield forks
    await forks.end()


def spec_of(world: World, rpc_url: str = "", ws_url: str = "") -> Spec:
    endpoints = world.network.endpoints
    spec = Spec(
        rpc_url=rpc_url or endpoints.rpc_url,
        ws_urls=[ws_url or endpoints.ws_url],
        gateway_url=endpoints.gateway_url,
        store=str(Path(endpoints.home) / "store"),
        home=str(world.home / "trainer"),
        seed=1,
        late=True,
    )
    world.wallet = spec.wallet()
    world.network.vm.airdrop(world.wallet.address, 10**9)
    return spec


async def reaches(spec: Spec, round_id: int, state: State) -> None:
    """Wait until the journal of a trainer in another process shows a state."""
    owner = Owner("", str(get_dialect(spec.dialect).program_id), str(spec.wallet().address))

    def shown() -> State | None:
        with JournalReader(Path(spec.home) / JOURNAL_FILE, owner) as journal:
            record = journal.get(round_id)
        return None if record is None else record.state

    async with asyncio.timeout(PATIENCE):
        while shown() is not state:  # noqa: ASYNC110 (another process writes it)
            await asyncio.sleep(0.02)


async def begin_elsewhere(world: World, spec: Spec) -> int:
    """As `begin`, for a trainer in another process."""
    round_id = await post_with_rival(world)
    await reaches(spec, round_id, State.WAITING)
    await world.begin(round_id)
    await reaches(spec, round_id, State.READY)
    return round_id


def steps_on_chain(world: World, round_id: int) -> list[str]:
    address = world.dialect.submission_address(round_id, world.wallet.address)
    return history(world.network, address)


async def test_a_killed_daemon_waits_on_and_submits_once(world: World, nursery: Nursery) -> None:
    spec = spec_of(world)
    await nursery.start(spec)
    round_id = await begin_elsewhere(world, spec)
    nursery.signal(signal.SIGKILL)
    assert await nursery.ended() == -signal.SIGKILL
    assert steps_on_chain(world, round_id) == ONCE[:1]
    await nursery.start(spec)
    # The daemon looks at all its rounds before it joins a new one.
    other = await world.post()
    await reaches(spec, other, State.WAITING)
    assert steps_on_chain(world, round_id) == ONCE[:1]
    world.clock.advance(SECONDS - 60)
    await reaches(spec, round_id, State.SUBMITTED)
    assert steps_on_chain(world, round_id) == ONCE[:2]


async def test_a_stopped_daemon_submits_at_once(world: World, nursery: Nursery) -> None:
    spec = spec_of(world)
    await nursery.start(spec)
    round_id = await begin_elsewhere(world, spec)
    nursery.signal(signal.SIGTERM)
    assert await nursery.ended() == 0
    assert steps_on_chain(world, round_id) == ONCE[:2]
    await nursery.start(spec)
    await reaches(spec, round_id, State.SUBMITTED)
    assert steps_on_chain(world, round_id) == ONCE[:2]


async def test_a_stop_without_an_endpoint_ends_in_time_and_keeps_the_update(world: World, nursery: Nursery) -> None:
    endpoints = world.network.endpoints
    async with FaultProxy(endpoints.rpc_url, endpoints.ws_url) as proxy:
        spec = dataclasses.replace(spec_of(world, proxy.url, proxy.ws_url), stop_seconds=2.0)
        await nursery.start(spec)
        round_id = await begin_elsewhere(world, spec)
        proxy.faults.append(Fault("deaf"))
        nursery.signal(signal.SIGTERM)
        assert await asyncio.wait_for(nursery.ended(), PATIENCE) == 0
    await nursery.start(spec_of(world))
    world.clock.advance(SECONDS - 60)
    await reaches(spec, round_id, State.SUBMITTED)
    assert steps_on_chain(world, round_id) == ONCE[:2]


async def test_endpoints_that_fail_end_the_wait(world: World, nursery: Nursery) -> None:
    endpoints = world.network.endpoints
    async with FaultProxy(endpoints.rpc_url, endpoints.ws_url, socket="refused") as proxy:
        spec = spec_of(world, proxy.url, proxy.ws_url)
        await nursery.start(spec)
        round_id = await begin_elsewhere(world, spec)
        outage = Fault("503", times=4)
        proxy.faults.append(outage)
        await asyncio.wait_for(outage.began.wait(), PATIENCE)
        await reaches(spec, round_id, State.SUBMITTED)
        assert steps_on_chain(world, round_id) == ONCE[:2]
