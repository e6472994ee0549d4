"""The download cache: each file is downloaded once and verified at each use, within the size limit."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from decloud_pl.errors import ContentNotFound, InvalidCid, SizeLimitExceeded, StoreError, StoreUnavailable
from decloud_pl.store.fetch.cache import CachedReader
from decloud_pl.store.fetch.fetcher import Cancelled, Fetched, in_thread
from decloud_pl.store.fetch.gateway import GatewayReader
from decloud_pl.store.ipfs.car import CONTENT_TYPE
from tests.harness.small_disk import small_disk
from tests.store.fakes.oracle import cid_of
from tests.store.fakes.server import Request, silent
from tests.store.fakes.shelf import FakeGateway
from tests.store.ipfs import test_car

DATA = random.Random(41).randbytes(400_000)
CID = cid_of(DATA, 1)


@pytest.fixture
def shelf() -> Iterator[FakeGateway]:
    with FakeGateway() as made:
        made.files = {CID: DATA}
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home" / "cache"


@pytest.fixture
def reader(shelf: FakeGateway) -> GatewayReader:
    return GatewayReader([shelf.url])


@pytest.fixture
def cache(reader: GatewayReader, folder: Path) -> CachedReader:
    return CachedReader(reader, folder)


def test_what_was_fetched_once_is_not_asked_for_again(cache: CachedReader, shelf: FakeGateway, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    assert cache.fetch(CID, one, max_bytes=len(DATA)).gateway == shelf.url
    assert cache.fetch(CID, other, max_bytes=len(DATA)).gateway == "cache"
    assert one.read_bytes() == other.read_bytes() == DATA
    assert len(shelf.log) == 1


@pytest.mark.parametrize("change", [b"", DATA[:-1], DATA[:-1] + b"?"])
def test_damaged_bytes_are_fetched_anew(
    change: bytes, cache: CachedReader, shelf: FakeGateway, folder: Path, tmp_path: Path
) -> None:
    cache.fetch(CID, tmp_path / "one", max_bytes=len(DATA))
    (folder / CID).write_bytes(change)
    assert cache.fetch(CID, tmp_path / "one", max_bytes=len(DATA)).gateway == shelf.url
    assert (tmp_path / "one").read_bytes() == DATA


def test_a_file_in_unusual_blocks_is_kept_and_verified_too(
    cache: CachedReader, shelf: FakeGateway, folder: Path, tmp_path: Path
) -> None:
    """Only its archive shows how it was divided. The blocks have 50 bytes."""
    cid, one = str(test_car.ROOT), tmp_path / "one"

    def archive(request: Request) -> None:
        request.send(200, test_car.ARCHIVE, {"Content-Type": CONTENT_TYPE})

    shelf.faults = [archive, archive]
    sources = [cache.fetch(cid, one, max_bytes=1000).gateway for _ in range(3)]
    (folder / cid).write_bytes(test_car.DATA[:-1] + b"?")
    sources += [cache.fetch(cid, one, max_bytes=1000).gateway for _ in range(2)]
    assert sources == [shelf.url, "cache", "cache", shelf.url, "cache"]
    assert one.read_bytes() == test_car.DATA


def test_a_kept_file_over_the_limit_is_refused(cache: CachedReader, tmp_path: Path) -> None:
    cache.fetch(CID, tmp_path / "one", max_bytes=len(DATA))
    with pytest.raises(SizeLimitExceeded):
        cache.fetch(CID, tmp_path / "two", max_bytes=len(DATA) - 1)
    assert not (tmp_path / "two").exists()


def test_a_file_that_another_process_removes_at_that_moment_is_fetched_anew(
    shelf: FakeGateway, reader: GatewayReader, folder: Path, tmp_path: Path
) -> None:
    def removing() -> float:
        (folder / CID).unlink(missing_ok=True)
        return 0.0

    CachedReader(reader, folder).fetch(CID, tmp_path / "one", max_bytes=len(DATA))
    found = CachedReader(reader, folder, now=removing).fetch(CID, tmp_path / "two", max_bytes=len(DATA))
    assert (found.gateway, (tmp_path / "two").read_bytes()) == (shelf.url, DATA)


def test_a_download_that_another_process_removes_is_repeated(shelf: FakeGateway, folder: Path, tmp_path: Path) -> None:
    class Removed(GatewayReader):
        def fetch(self, cid: str, destination: Path, **options: Any) -> Fetched:
            fetched = super().fetch(cid, destination, **options)
            if len(shelf.log) == 1:
                destination.unlink()
            return fetched

    CachedReader(Removed([shelf.url]), folder).fetch(CID, tmp_path / "one", max_bytes=len(DATA))
    assert (tmp_path / "one").read_bytes() == DATA
    assert len(shelf.log) == 2


def test_a_broken_download_goes_on_after_a_restart(shelf: FakeGateway, folder: Path, tmp_path: Path) -> None:
    def break_off(request: Request) -> None:
        request.send(200, DATA[:300_000], {}, length=len(DATA))
        request.hang_up()

    shelf.faults = [break_off]
    shelf.faulty = lambda request: "Range" not in request.headers
    gone = shelf.files
    shelf.files = {}
    with pytest.raises(StoreError):
        CachedReader(GatewayReader([shelf.url]), folder).fetch(CID, tmp_path / "one", max_bytes=len(DATA))
    shelf.files = gone
    shelf.log.clear()
    CachedReader(GatewayReader([shelf.url]), folder).fetch(CID, tmp_path / "one", max_bytes=len(DATA))
    assert (tmp_path / "one").read_bytes() == DATA
    assert shelf.log == [("GET", f"/ipfs/{CID}")], "the reader must request only the rest of the file"


def test_a_cancelled_download_goes_on_after_a_restart(shelf: FakeGateway, folder: Path, tmp_path: Path) -> None:
    cancel = threading.Event()

    def stall(request: Request) -> None:
        request.send(200, DATA[:262_144], {}, length=len(DATA))
        silent(request)

    shelf.faults = [stall]
    with ThreadPoolExecutor(1) as pool:
        reader = CachedReader(GatewayReader([shelf.url]), folder)
        download = pool.submit(reader.fetch, CID, tmp_path / "one", max_bytes=len(DATA), cancel=cancel)
        try:
            until_cached(folder, 262_144)
        finally:
            cancel.set()
        with pytest.raises(Cancelled):
            download.result(20)
    assert {path.name for path in folder.iterdir()} == {f"{CID}.partial"}
    CachedReader(GatewayReader([shelf.url]), folder).fetch(CID, tmp_path / "one", max_bytes=len(DATA))
    assert (tmp_path / "one").read_bytes() == DATA
    assert [headers.get("Range") for headers in shelf.seen_headers] == [None, "bytes=262144-"]


def until_cached(folder: Path, size: int) -> None:
    """Wait until a download has written this many bytes to the cache."""
    deadline = time.monotonic() + 20
    while not folder.exists() or not any(path.stat().st_size >= size for path in folder.iterdir()):
        assert time.monotonic() < deadline, "the download wrote too little"
        time.sleep(0.005)


def test_the_oldest_go_when_there_are_too_many(shelf: FakeGateway, folder: Path, tmp_path: Path) -> None:
    files = {cid_of(bytes((number,)) * 1000, 1): bytes((number,)) * 1000 for number in range(5)}
    shelf.files = files
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 1
        return now

    cache = CachedReader(GatewayReader([shelf.url]), folder, max_bytes=3000, now=clock)
    cids = list(files)
    for number, cid in enumerate(cids):
        cache.fetch(cid, tmp_path / str(number), max_bytes=1000)
        cache.fetch(cid, tmp_path / str(number), max_bytes=1000)  # a use at the time of the fake clock
    assert {path.name for path in folder.iterdir()} == set(cids[-3:])
    assert (tmp_path / "0").read_bytes() == bytes(1000), "delivered files must stay"


def test_interrupted_downloads_stay_within_the_limit(shelf: FakeGateway, folder: Path, tmp_path: Path) -> None:
    def break_off(request: Request) -> None:
        request.send(200, bytes(100_000), {}, length=200_000)
        request.hang_up()

    cache = CachedReader(GatewayReader([shelf.url]), folder, max_bytes=250_000)
    for number in range(4):
        shelf.faults = [break_off] * 8
        with pytest.raises(StoreUnavailable):
            cache.fetch(cid_of(bytes((number,)), 1), tmp_path / "file", max_bytes=200_000)
    sizes = [path.stat().st_size for path in folder.iterdir()]
    assert len(sizes) > 1
    assert sum(sizes) <= 250_000


def test_a_beginning_that_nobody_comes_back_for_goes_after_a_week(
    reader: GatewayReader, folder: Path, tmp_path: Path
) -> None:
    folder.mkdir(parents=True)
    stale = folder / f"{cid_of(b'x', 1)}.partial"
    stale.write_bytes(b"x")
    later = stale.stat().st_mtime + 8 * 86_400
    CachedReader(reader, folder, now=lambda: later).fetch(CID, tmp_path / "one", max_bytes=len(DATA))
    assert {path.name for path in folder.iterdir()} == {CID}


def test_a_file_that_another_process_removes_meanwhile_is_no_failure(
    cache: CachedReader, folder: Path, tmp_path: Path
) -> None:
    folder.mkdir(parents=True)
    (folder / "gone").symlink_to("removed")  # the folder lists it, but it has no file any more
    assert cache.fetch(CID, tmp_path / "one", max_bytes=len(DATA)).size == len(DATA)
    assert (tmp_path / "one").read_bytes() == DATA


def test_errors_pass_through(cache: CachedReader, reader: GatewayReader, shelf: FakeGateway, tmp_path: Path) -> None:
    with pytest.raises(InvalidCid):
        cache.fetch("../x", tmp_path / "one", max_bytes=1)
    with pytest.raises(ContentNotFound):
        cache.fetch(cid_of(b"absent", 1), tmp_path / "one", max_bytes=1)
    shelf.__exit__(None, None, None)
    with pytest.raises(StoreUnavailable):
        cache.fetch(CID, tmp_path / "one", max_bytes=len(DATA))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot be written"):
        CachedReader(reader, tmp_path / "file" / "cache").fetch(CID, tmp_path / "one", max_bytes=1)


def test_a_download_can_be_cancelled_and_leaves_nobody_waiting(
    cache: CachedReader, shelf: FakeGateway, tmp_path: Path
) -> None:
    asked = threading.Event()

    def answer(request: Request) -> None:
        asked.set()
        silent(request)

    shelf.faults = [answer]
    cancels = [threading.Event(), threading.Event()]
    with ThreadPoolExecutor(2) as pool:
        downloads = [
            pool.submit(cache.fetch, CID, tmp_path / str(place), max_bytes=len(DATA), cancel=cancel)
            for place, cancel in enumerate(cancels)
        ]
        assert asked.wait(20)  # one download waits for the gateway, the other for the first one
        for cancel in cancels:
            cancel.set()
        for download in downloads:
            with pytest.raises(Cancelled):
                download.result(timeout=20)
    assert cache.fetch(CID, tmp_path / "again", max_bytes=len(DATA)).size == len(DATA)


def test_a_cancelled_task_ends_its_download_with_the_loop(
    cache: CachedReader, shelf: FakeGateway, tmp_path: Path
) -> None:
    asked, ends = threading.Event(), list[str]()

    def answer(request: Request) -> None:
        asked.set()
        silent(request)

    shelf.faults = [answer]

    def work(cancel: threading.Event) -> None:
        try:
            cache.fetch(CID, tmp_path / "one", max_bytes=len(DATA), cancel=cancel)
        except (Cancelled, StoreError) as error:
            ends.append(type(error).__name__)

    async def begin_and_cancel() -> None:
        task = asyncio.create_task(in_thread(work))
        await asyncio.to_thread(asked.wait, 20)
        task.cancel()

    asyncio.run(begin_and_cancel())  # asyncio.run waits for the threads
    assert ends == ["Cancelled"]


def test_a_cache_that_cannot_be_written_is_blamed_and_not_the_file(
    cache: CachedReader, folder: Path, tmp_path: Path
) -> None:
    folder.parent.mkdir()
    folder.write_text("no folder")
    with pytest.raises(StoreError, match=rf"^{folder} cannot be written: File exists"):
        cache.fetch(CID, tmp_path / "out", max_bytes=len(DATA))
    folder.unlink()
    with small_disk(folder, kilobytes=64), pytest.raises(StoreError, match=rf"^{folder}/.*: No space left on device"):
        cache.fetch(CID, tmp_path / "out", max_bytes=len(DATA))
    assert not (tmp_path / "out").exists()


def test_a_full_place_for_the_file_is_blamed_and_not_the_cache(cache: CachedReader, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", kilobytes=64) as disk:
        with pytest.raises(StoreError, match=rf"^{disk / 'out'} cannot be written: No space left on device"):
            cache.fetch(CID, disk / "out", max_bytes=len(DATA))
        assert list(disk.iterdir()) == []
