"""Base models are inspected before a join: an unusable one costs nothing, and a usable round is joined once."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from decloud_pl.config.schema import JoinConfig
from decloud_pl.data.catalog import entry
from decloud_pl.durable import sha256_of
from decloud_pl.errors import StoreUnavailable
from decloud_pl.journal.record import State
from decloud_pl.models.make import make_package, make_spec
from decloud_pl.models.quarantine.opened import recorded
from decloud_pl.models.registry import build
from decloud_pl.rounds.base_models import BaseModels
from decloud_pl.rounds.events import Skipped
from decloud_pl.rounds.select import Criteria
from decloud_pl.store.fetch.fetcher import NEVER, Fetched
from tests.daemon.test_strangers import pickle_that_runs_a_command
from tests.rounds.test_select import NOW, ROUND
from tests.world import World

# No store has the file of this CID.
ABSENT = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
PATIENCE = 240.0


def weights() -> dict[str, torch.Tensor]:
    return dict(build("simple_cnn", {"num_classes": 10}).state_dict())


def five_classes(path: Path) -> None:
    torch.save(build("simple_cnn", {"num_classes": 5}).state_dict(), path)


def for_texts(path: Path) -> None:
    make_package(path, make_spec("text_bag", {"num_classes": 10, "width": 4}, {}))


# The program only counts the characters of these CIDs.
CIDS = [
    "x" * 46,
    "Qm" + "0" * 44,
    "../" * 16,
    f"ipfs:{ABSENT}",
    f" {ABSENT}",
    ABSENT[:-1] + "=",
    "\x1b]8;;http://evil.test\x07" + "click " * 6,
]
# One file for each way in which a file is refused. Tests of the quarantine open many more kinds.
FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a page": (lambda path: path.write_bytes(b"<html>Please log in</html>"), "neither a model package nor"),
    "too large": (lambda path: path.write_bytes(bytes(5 << 20)), "larger than the limit"),
    "a command": (pickle_that_runs_a_command, "not executed"),
    "five classes for ten": (five_classes, "5 classes"),
    "for texts": (for_texts, "takes text input"),
}


@pytest.mark.slow
async def test_rounds_that_cannot_be_trained_cost_nothing(world: World, tmp_path: Path) -> None:
    """A good round beside them is joined, and its worker gets the opened model."""
    expected = {await world.post(model_cid=cid): "model_cid" for cid in CIDS}
    expected[await world.post(model_cid=ABSENT)] = "cannot be fetched"
    for name, (make, words) in FILES.items():
        make(tmp_path / name)
        expected[await world.post(model=tmp_path / name)] = words
    state = weights()
    torch.save(state, tmp_path / "good")
    before = await world.rpc.balance(world.wallet.address)
    async with world.daemon(looks=JoinConfig(), criteria=Criteria(max_concurrent_rounds=99)):

        def reasons() -> dict[int, str]:
            return {event.round_id: event.reason for event in world.diary.events if isinstance(event, Skipped)}

        await world.diary.until(lambda: len(reasons()) == len(expected), patience=PATIENCE)
        wrong = {number: reasons()[number] for number, words in expected.items() if words not in reasons()[number]}
        assert wrong == {}
        assert await world.rpc.balance(world.wallet.address) == before
        good = await world.post(model=tmp_path / "good")
        await world.diary.reaches(good, State.WAITING, patience=PATIENCE)
        await world.begin(good)
        await world.diary.reaches(good, State.SUBMITTED)
        folder = world.home / "rounds" / str(good)
        opened = recorded(folder, sha256_of(tmp_path / "good"))
    assert opened is not None
    assert (opened.weights.parent, opened.classes) == (folder, 10)
    assert all(torch.equal(opened.state_dict()[name], tensor) for name, tensor in state.items())
    with world.open_journal() as journal:
        assert [record.round_id for record in journal.rounds()] == [good]
    kept = list((world.home / "looks").iterdir())  # packages for workers
    assert 0 < len(kept) <= 4
    assert {path.suffix for path in kept} == {".safetensors"}


class TwoAtOnce:
    """Has no file. It answers only when two downloads wait, and notes whether their folders still exist."""

    def __init__(self) -> None:
        self.both = threading.Barrier(2, timeout=PATIENCE)
        self.found: list[bool] = []

    def fetch(self, cid: str, destination: Path, *, max_bytes: int, cancel: threading.Event = NEVER) -> Fetched:
        self.both.wait()
        self.found.append(destination.parent.is_dir())
        raise StoreUnavailable("No gateway answers.")


@pytest.mark.parametrize("keeps", [True, False])
async def test_the_files_of_a_killed_inspection_are_deleted(keeps: bool, tmp_path: Path) -> None:
    left = tmp_path / "looks" / "look-old"
    left.mkdir(parents=True)
    (left / "base").write_bytes(b"half a model")
    source = TwoAtOnce()
    models = BaseModels(source, tmp_path / "looks", JoinConfig(), 4 << 20, keeps_packages=keeps)
    await asyncio.gather(models.look(CIDS[0]), models.look(CIDS[1]))
    assert source.found == [True, True]
    assert list((tmp_path / "looks").iterdir()) == ([] if keeps else [left])  # it may be another process's


class Served:
    """Has one file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def fetch(self, cid: str, destination: Path, *, max_bytes: int, cancel: threading.Event = NEVER) -> Fetched:
        shutil.copyfile(self._path, destination)
        return Fetched("a gateway", self._path.stat().st_size)


async def test_a_base_model_for_which_the_held_out_part_is_too_large_is_not_joined(tmp_path: Path) -> None:
    make_package(tmp_path / "model", make_spec("squeezenet1_1", {"num_classes": 10}, {"size": 1024}))
    models = BaseModels(Served(tmp_path / "model"), tmp_path / "looks", JoinConfig(), 8 << 20)
    await models.look(ROUND.model_cid)
    too_large = models.check(ROUND, entry("cifar10"), now=NOW)
    assert (too_large.passed, too_large.settled) == (False, True)
    assert too_large.detail == (
        "the held-out part of cifar10 takes 15,000 MB as input of its base model, more than 2,048 MB; "
        "to join, raise fit.data_memory_mb"
    )
    assert models.check(ROUND, entry("digits"), now=NOW).passed
    assert dataclasses.replace(models, data_memory_mb=15_000).check(ROUND, entry("cifar10"), now=NOW).passed


class Held:
    """Has no file. In the ``with`` block, each download waits until the test sets ``may_end``."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may_end = threading.Event()
        self._begun = threading.Semaphore(0)

    def __enter__(self) -> None:
        self.may_end.clear()

    def __exit__(self, *_: object) -> None:
        self.may_end.set()

    def fetch(self, cid: str, destination: Path, *, max_bytes: int, cancel: threading.Event = NEVER) -> Fetched:
        self.asked.append(cid)
        self._begun.release()
        self.may_end.wait(PATIENCE)
        raise StoreUnavailable("No gateway answers.")

    async def begins(self) -> None:
        assert await asyncio.to_thread(self._begun.acquire, timeout=PATIENCE)


async def test_a_first_inspection_does_not_wait_for_a_place_until_it_is_too_late_to_join(tmp_path: Path) -> None:
    source = Held()
    models = BaseModels(source, tmp_path, JoinConfig(), 4 << 20)
    with source:
        looks = [asyncio.create_task(models.look(cid)) for cid in CIDS[:4]]
        for _ in looks:
            await source.begins()
        await asyncio.wait_for(models.look(CIDS[4], seconds_left=0), 10.0)
    await asyncio.gather(*looks)
    assert sorted(source.asked) == sorted(CIDS[:4])
    await models.look(CIDS[4], seconds_left=0)  # a place is free
    assert source.asked[-1] == CIDS[4]


async def test_repeated_inspections_take_only_one_place(tmp_path: Path) -> None:
    source, now = Held(), 0.0
    source.may_end.set()
    models = BaseModels(source, tmp_path, JoinConfig(), 4 << 20, monotonic=lambda: now)
    first, second, new = CIDS[:3]
    for cid in (first, second) * 2:
        await models.look(cid)
        await source.begins()
        now += 3600.0
    with source:
        looks = [asyncio.create_task(models.look(first))]
        await source.begins()
        looks += [asyncio.create_task(models.look(cid, seconds_left=0)) for cid in (first, second, new)]
        await source.begins()
        assert source.asked[4:] == [first, new]
    await asyncio.gather(*looks)
    assert source.asked[4:] == [first, new, second]


async def test_a_model_that_nobody_has_is_not_asked_for_at_every_poll_nor_when_only_its_cid_counts(
    world: World,
) -> None:
    number = await world.post(model_cid=ABSENT)
    async with world.daemon(looks=JoinConfig()):
        await world.diary.until(lambda: world.diary.skipped(number, "its base model cannot be fetched") == 1)
    async with world.daemon(looks=JoinConfig(verify="cid")):
        await world.diary.reaches(number, State.WAITING)
