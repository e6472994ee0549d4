"""A shortage on this machine is not blamed on a round: the daemon reports it and waits until it ends."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from decloud_pl.chain.wallet import create_wallet
from decloud_pl.children import output_of
from decloud_pl.config.schema import JoinConfig
from decloud_pl.journal.record import State
from decloud_pl.models.registry import build
from decloud_pl.rounds.events import Trouble
from decloud_pl.rounds.select import Criteria
from tests.harness.small_disk import fill, small_disk
from tests.models.quarantine.test_opening import child_of
from tests.world import World


def shortages(world: World) -> list[Trouble]:
    """Return the reported shortages of this machine."""
    return [event for event in world.diary.events if isinstance(event, Trouble) and event.of_machine]


@pytest.mark.slow
async def test_a_look_that_is_killed_from_outside_costs_the_round_nothing(world: World, tmp_path: Path) -> None:
    torch.save(build("simple_cnn", {"num_classes": 10}).state_dict(), tmp_path / "good")
    before = await world.rpc.balance(world.wallet.address)
    async with world.daemon(looks=JoinConfig(), criteria=Criteria()):
        number = await world.post(model=tmp_path / "good")
        child = await asyncio.to_thread(child_of, psutil.Process())
        child.kill()
        await world.diary.until(lambda: bool(shortages(world)))
        assert "was killed, probably because memory ran out" in shortages(world)[0].message
        assert await world.rpc.balance(world.wallet.address) == before
    async with world.daemon(looks=JoinConfig(), criteria=Criteria()):  # the memory is available again
        await world.diary.reaches(number, State.WAITING, patience=60.0)


async def test_a_full_disk_is_waited_out_without_using_up_an_attempt(world: World) -> None:
    with small_disk(world.home / "rounds", kilobytes=64) as disk:
        fill(disk)
        async with world.daemon():
            number = await world.post()
            await world.diary.reaches(number, State.WAITING)
            await world.begin(number)
            await world.diary.until(lambda: world.row(number).next_try_at > 0)
            row = world.row(number)
    assert (row.state.is_final, row.attempts) == (False, 0)
    assert time.time() < row.next_try_at < time.time() + 20
    assert shortages(world)[0].message.startswith("No disk space left in ")
    assert "Free disk space there. Retrying in 15 s." in shortages(world)[0].message


async def test_a_full_disk_with_the_journal_is_waited_out(world: World, tmp_path: Path) -> None:
    ahead = [0.0]
    with small_disk(tmp_path / "disk", kilobytes=4096) as disk:
        world.home = disk
        async with world.daemon(monotonic=lambda: time.monotonic() + ahead[0]):
            number = await world.post()
            await world.diary.reaches(number, State.WAITING)
            filler = fill(disk)
            await world.begin(number)
            await world.diary.until(lambda: bool(shortages(world)))
            told = f"No disk space left in {disk}. Free disk space there. Retrying in 15 s."
            assert shortages(world)[0].message == told
            assert world.row(number).state is State.WAITING
            filler.unlink()
            ahead[0] = 20.0
            await world.diary.reaches(number, State.SUBMITTED)


@pytest.mark.slow
async def test_a_disk_that_is_full_at_the_start_is_one_sentence(world: World, tmp_path: Path) -> None:
    create_wallet(tmp_path / "id.json")
    with small_disk(tmp_path / "disk", kilobytes=64) as disk:
        (disk / "home").mkdir()
        fill(disk)
        own = [f"wallet.keypair_path={tmp_path / 'id.json'}", f"home={disk / 'home'}", "trainer=cpu"]
        settings = [one for one in world.overrides() if not one.startswith("home=")] + own
        for program in (("decloud_pl.cli", "start"), ("decloud_pl",)):
            ended = await output_of((sys.executable, "-m", *program, *settings), seconds=60)
            said = (ended.out + ended.log).decode()
            assert "Traceback" not in said
            assert (ended.code, "full" in said or "No space left" in said) == (11, True), said
