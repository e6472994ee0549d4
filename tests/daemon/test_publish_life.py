"""Whole rounds on a real chain, with updates pinned by an IPFS node or Pinata at the wire."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from decloud_pl.journal.record import State
from decloud_pl.store.kubo import KuboStore
from decloud_pl.store.pinata import PinataCredentials, PinataStore
from tests.store.fakes.kubo import FakeKubo
from tests.store.fakes.oracle import cid_of
from tests.store.fakes.pinata import JWT, KEY, SECRET, FakePinata
from tests.store.fakes.server import status
from tests.store.fakes.shelf import FakeGateway
from tests.world import World


async def live(world: World) -> int:
    """Run one round from its creation to the reward."""
    async with world.daemon():
        round_id: int = await world.post()
        await world.diary.reaches(round_id, State.WAITING)
        await world.begin(round_id)
        await world.diary.reaches(round_id, State.SUBMITTED)
        await world.complete(round_id)
        await world.diary.reaches(round_id, State.CLAIMED)
    return round_id


@pytest.mark.parametrize("kind", ["kubo", "pinata v1", "pinata v3", "pinata that is refused, then kubo"])
async def test_a_reward_is_earned_with_each_store(kind: str, world: World) -> None:
    with ExitStack() as stack:
        node, pinata = stack.enter_context(FakeKubo()), stack.enter_context(FakePinata())
        keys = PinataCredentials(KEY, SECRET) if kind == "pinata v1" else PinataCredentials(jwt=JWT)
        hosted = PinataStore(keys, api_url=pinata.url, upload_url=pinata.url)
        local = KuboStore(node.multiaddr)
        world.stores = [local] if kind == "kubo" else [hosted, local]
        if "refused" in kind:
            pinata.faults = [status(401)]
        used = node if "kubo" in kind else pinata
        shelf = stack.enter_context(FakeGateway(files=used.files))
        world.gateways.append(shelf.url)
        round_id = await live(world)
        submission = await world.submission(round_id)
        assert submission.gradient_cid == cid_of(b"an update of " + str(round_id).encode(), 1)
        assert used.files == {submission.gradient_cid: b"an update of " + str(round_id).encode()}
        assert world.row(round_id).pinned_provider == ("kubo" if used is node else "pinata")
