"""A publisher returns a CID only after its bytes were read back."""

from __future__ import annotations

import asyncio
import random
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from decloud_pl.domain import Update
from decloud_pl.errors import ContentNotFound, IntegrityError, InvalidCid, StoreError, StoreRejected, StoreUnavailable
from decloud_pl.store import Progress, Stored
from decloud_pl.store.fetch.gateway import GatewayReader
from decloud_pl.store.ipfs.cid import DEFAULT_PROFILE, RAW, Cid
from decloud_pl.store.ipfs.unixfs import cid_of_file
from decloud_pl.store.publish import StorePublisher
from decloud_pl.store.upload import LocalFile
from decloud_pl.store.uploads import MemoryUploadLog, Upload, UploadState
from tests.store.fakes.server import Fault, silent, status
from tests.store.fakes.shelf import FakeGateway

DATA = random.Random(4).randbytes(1_300_000)  # large enough that each profile gives a different CID


class Claims:
    """A remote store with scripted answers."""

    def __init__(self, claim: str | StoreError, name: str = "claims") -> None:
        self.name = name
        self._claim = claim
        self.asked: list[tuple[Path, str]] = []
        self.looked_for: list[str] = []
        self.keeps: set[str] = set()

    def put(self, path: Path, profile: str = DEFAULT_PROFILE, *, progress: Progress | None = None) -> Stored:
        self.asked.append((path, profile))
        if progress is not None:
            progress(path.stat().st_size, path.stat().st_size)
        if isinstance(self._claim, StoreError):
            raise self._claim
        self.keeps.add(self._claim)
        return Stored(self._claim, profile, path.stat().st_size)

    def mend(self, claim: str) -> None:
        self._claim = claim

    def has(self, cid: str) -> bool:
        self.looked_for.append(cid)
        return cid in self.keeps

    def check(self) -> str:
        return "It claims to be well."


@pytest.fixture
def shelf() -> Iterator[FakeGateway]:
    with FakeGateway() as made:
        made.files = {}
        yield made


@pytest.fixture
def update(tmp_path: Path) -> Update:
    path = tmp_path / "update.pt"
    path.write_bytes(DATA)
    cid = str(cid_of_file(path, "kubo-v1"))
    return Update(path, cid, "kubo-v1", len(DATA), "delta", 0.1, 0.2)


@pytest.fixture
def cid_as(update: Update) -> Callable[[str], str]:
    return lambda profile: str(cid_of_file(update.path, profile))


def asked(shelf: FakeGateway) -> list[str]:
    return [path.removeprefix("/ipfs/").partition("?")[0] for _, path in shelf.log]


def published(update: Update, store: Claims, shelf: FakeGateway) -> str:
    try:
        pinned = StorePublisher((store,), GatewayReader([shelf.url]), 0.0).publish(update)
    finally:
        assert list(update.path.parent.iterdir()) == [update.path], "the downloaded copy must be removed"
        assert update.path.read_bytes() == DATA
    assert (pinned.provider, pinned.read_back_from, pinned.size) == ("claims", shelf.url, len(DATA))
    return pinned.cid


@pytest.mark.parametrize("profile", ["kubo-v1", "kubo-v0", "v1-1m-174"])
def test_a_cid_of_the_same_bytes_is_handed_on(
    profile: str, update: Update, shelf: FakeGateway, cid_as: Callable[[str], str]
) -> None:
    store = Claims(cid_as(profile))
    shelf.files[cid_as(profile)] = DATA
    assert published(update, store, shelf) == cid_as(profile)
    assert store.asked == [(update.path, update.profile)]
    assert asked(shelf) == [cid_as(profile)]


def test_a_cid_of_other_bytes_is_not_handed_on(update: Update, shelf: FakeGateway, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"other bytes")
    cid = str(cid_of_file(other))
    other.unlink()
    shelf.files[cid] = b"other bytes"
    with pytest.raises(IntegrityError, match="does not match"):
        published(update, Claims(cid), shelf)
    assert asked(shelf) == []


@pytest.mark.parametrize("claim", ["", "../update.pt", "ok", "BAFY", "z" * 10_000])
def test_text_that_is_no_cid_is_not_handed_on(claim: str, update: Update, shelf: FakeGateway) -> None:
    with pytest.raises(InvalidCid):
        published(update, Claims(claim), shelf)
    assert asked(shelf) == []


def test_what_nobody_can_fetch_is_not_handed_on(update: Update, shelf: FakeGateway) -> None:
    with pytest.raises(ContentNotFound):
        published(update, Claims(update.cid), shelf)
    assert asked(shelf) == [update.cid]


@pytest.mark.parametrize("data", [b"", DATA[:-1], DATA[:-1] + b"?"])
def test_other_bytes_read_back_are_not_handed_on(data: bytes, update: Update, shelf: FakeGateway) -> None:
    shelf.files[update.cid] = data
    with pytest.raises(IntegrityError):
        published(update, Claims(update.cid), shelf)


def test_the_stores_own_error_passes_through(update: Update, shelf: FakeGateway) -> None:
    error = StoreUnavailable("The store is full.", retry_after=5.0)
    with pytest.raises(StoreUnavailable) as caught:
        published(update, Claims(error), shelf)
    assert caught.value is error


class Time:
    """A clock that each sleep advances. ``then`` is called after each sleep."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self._then = then

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        self._then()

    def monotonic(self) -> float:
        return self.now


def publisher(shelf: FakeGateway, time: Time, *stores: Claims, seconds: float = 120.0) -> StorePublisher:
    reader = GatewayReader([shelf.url])
    return StorePublisher(stores, reader, seconds, time.sleep, time.monotonic)


async def test_it_publishes_where_a_loop_runs(update: Update, shelf: FakeGateway) -> None:
    shelf.files[update.cid] = DATA
    assert published(update, Claims(update.cid), shelf) == update.cid


async def test_a_copy_that_becomes_readable_late_is_waited_for(update: Update, shelf: FakeGateway) -> None:
    def after_sleep() -> None:
        if len(time.slept) == 4:
            shelf.files = {update.cid: DATA}

    time = Time(after_sleep)
    log = MemoryUploadLog()
    pinned = await publisher(shelf, time, Claims(update.cid)).pin(update, log=log, scratch=update.path.with_name("s"))
    assert pinned.cid == update.cid
    assert time.slept == [1.0, 2.0, 4.0, 8.0]
    assert log.get("claims") == Upload("claims", update.cid, UploadState.READABLE, update.cid)


async def test_the_wait_for_a_copy_ends_and_goes_on_later_without_another_upload(
    update: Update, shelf: FakeGateway
) -> None:
    time, log, store = Time(), MemoryUploadLog(), Claims(update.cid)
    scratch = update.path.with_name("s")
    with pytest.raises(ContentNotFound, match="cannot be read back yet"):
        await publisher(shelf, time, store).pin(update, log=log, scratch=scratch)
    assert time.now <= 120.0
    assert log.get("claims") == Upload("claims", update.cid, UploadState.STORED, update.cid)
    shelf.files = {update.cid: DATA}
    await publisher(shelf, time, store).pin(update, log=log, scratch=scratch)
    assert len(store.asked) == 1
    assert not scratch.exists()


class Forgetful(Claims):
    """A store that has lost its files. The gateway has what is put."""

    def __init__(self, claim: str, shelf: FakeGateway, *, readable: bool = True) -> None:
        super().__init__(claim)
        self._shelf, self._readable = shelf, readable

    def put(self, path: Path, profile: str = DEFAULT_PROFILE, *, progress: Progress | None = None) -> Stored:
        self._shelf.faults = []
        if self._readable:
            self._shelf.files = {str(self._claim): DATA}
        return super().put(path, profile, progress=progress)


def stored(update: Update) -> MemoryUploadLog:
    log = MemoryUploadLog()
    log.save(Upload("claims", update.cid, UploadState.STORED, update.cid))
    return log


@pytest.mark.parametrize("faults", [[], [status(504)] * 100], ids=["404", "504"])
async def test_what_the_store_has_lost_is_uploaded_once_more(
    faults: list[Fault], update: Update, shelf: FakeGateway
) -> None:
    shelf.faults = list(faults)
    store, log = Forgetful(update.cid, shelf), stored(update)
    pinned = await publisher(shelf, Time(), store).pin(update, log=log, scratch=update.path.with_name("s"))
    assert pinned.cid == update.cid
    assert len(store.asked) == 1
    assert log.get("claims") == Upload("claims", update.cid, UploadState.READABLE, update.cid)


async def test_a_second_upload_that_nobody_can_fetch_is_the_last(update: Update, shelf: FakeGateway) -> None:
    store, log = Forgetful(update.cid, shelf, readable=False), stored(update)
    for _ in range(3):
        with pytest.raises(ContentNotFound, match="cannot be read back yet"):
            await publisher(shelf, Time(), store).pin(update, log=log, scratch=update.path.with_name("s"))
    assert len(store.asked) == 1


@pytest.mark.parametrize("trouble", [StoreUnavailable("It is down."), StoreRejected("The key may not list files.")])
async def test_a_store_that_cannot_be_asked_gets_no_second_upload(
    trouble: StoreError, update: Update, shelf: FakeGateway
) -> None:
    class Mute(Claims):
        def has(self, cid: str) -> bool:
            raise trouble

    store, log = Mute(update.cid), stored(update)
    with pytest.raises(ContentNotFound, match="cannot be read back yet"):
        await publisher(shelf, Time(), store).pin(update, log=log, scratch=update.path.with_name("s"))
    assert store.asked == []
    assert log.get("claims") == Upload("claims", update.cid, UploadState.STORED, update.cid)


async def test_what_is_waited_for_is_said_once(update: Update, shelf: FakeGateway) -> None:
    said: list[str] = []
    patient = replace(publisher(shelf, Time(), Claims(update.cid)), tell=said.append)
    with pytest.raises(ContentNotFound):
        await patient.pin(update, log=MemoryUploadLog(), scratch=update.path.with_name("s"))
    assert len(asked(shelf)) > 2
    assert said[0] == f"The store claims has pinned the update as {update.cid}. Reading it back through a gateway…"
    assert re.fullmatch(r"The gateway \S+ does not have the file. Retrying for up to \d+ s…", said[1])
    assert len(said) == 2


async def test_a_gateway_that_asks_for_patience_gets_it(update: Update, shelf: FakeGateway) -> None:
    shelf.files = {update.cid: DATA}
    shelf.faults = [status(429, Retry_After="30")]
    time = Time()
    await publisher(shelf, time, Claims(update.cid)).pin(
        update, log=MemoryUploadLog(), scratch=update.path.with_name("s")
    )
    assert time.slept == [30.0]


@pytest.mark.parametrize(
    "trouble",
    [StoreUnavailable("It is down."), StoreRejected("It is full."), StoreError("It is odd.")],
)
async def test_the_next_store_is_used_when_one_fails(trouble: StoreError, update: Update, shelf: FakeGateway) -> None:
    shelf.files = {update.cid: DATA}
    stores = Claims(trouble, "one"), Claims(update.cid, "two")
    log = MemoryUploadLog()
    pinned = await publisher(shelf, Time(), *stores).pin(update, log=log, scratch=update.path.with_name("s"))
    assert pinned.provider == "two"
    assert log.get("one") == Upload("one", update.cid, UploadState.BEGUN)


async def test_the_next_store_is_used_when_one_lies_or_hides(
    update: Update, shelf: FakeGateway, cid_as: Callable[[str], str]
) -> None:
    liar = Claims(str(Cid.of_block(1, RAW, b"x")), "liar")
    hider = Claims(cid_as("kubo-v0"), "hider")
    honest = Claims(update.cid, "honest")
    shelf.files = {update.cid: DATA}
    log = MemoryUploadLog()
    pinned = await publisher(shelf, Time(), liar, hider, honest).pin(
        update, log=log, scratch=update.path.with_name("s")
    )
    assert (pinned.provider, pinned.cid) == ("honest", update.cid)
    states = [upload and upload.state for upload in map(log.get, ("liar", "hider", "honest"))]
    assert states == [UploadState.WRONG, UploadState.STORED, UploadState.READABLE]


class Silent(Claims):
    """A store that does not answer before it is closed."""

    def __init__(self, name: str) -> None:
        super().__init__("", name)
        self.closed = threading.Event()

    def put(self, path: Path, profile: str = DEFAULT_PROFILE, *, progress: Progress | None = None) -> Stored:
        self.closed.wait(10)
        raise AssertionError("the publisher waited for the silent store")


async def test_a_silent_store_leaves_time_for_the_next_one(update: Update, shelf: FakeGateway) -> None:
    shelf.files = {update.cid: DATA}
    first, second, last = Silent("first"), Silent("second"), Claims(update.cid, "last")
    log, scratch = MemoryUploadLog(), update.path.with_name("s")
    try:
        stores = publisher(shelf, Time(), first, second, last)
        pinned = await stores.pin(update, log=log, scratch=scratch, seconds_left=0.2)
    finally:
        first.closed.set()
        second.closed.set()
    assert pinned.provider == "last"
    assert log.get("first") == Upload("first", update.cid, UploadState.BEGUN)  # the next attempt looks for it first


async def test_a_store_that_nobody_can_read_leaves_time_for_the_next_one(
    update: Update, shelf: FakeGateway, cid_as: Callable[[str], str]
) -> None:
    """The gateway has the update only under the CID of the next store. Each wait takes its time on the clock."""
    shelf.files = {update.cid: DATA}
    time, log = Time(), MemoryUploadLog()
    stores = publisher(shelf, time, Claims(cid_as("kubo-v0"), "hider"), Claims(update.cid, "last"))
    pinned = await stores.pin(update, log=log, scratch=update.path.with_name("s"), seconds_left=60.0)
    assert pinned.provider == "last"
    assert time.now <= 30.0


async def test_a_gateway_that_delivers_nothing_leaves_time_for_the_next_store(
    update: Update, shelf: FakeGateway, cid_as: Callable[[str], str]
) -> None:
    shelf.files = {update.cid: DATA}
    shelf.faults = [silent]
    log, scratch = MemoryUploadLog(), update.path.with_name("s")
    stores = publisher(shelf, Time(), Claims(cid_as("kubo-v0"), "hider"), Claims(update.cid, "last"), seconds=0.0)
    async with asyncio.timeout(10):
        pinned = await stores.pin(update, log=log, scratch=scratch, seconds_left=1.0)
    assert pinned.provider == "last"
    assert log.get("hider") == Upload("hider", update.cid, UploadState.STORED, cid_as("kubo-v0"))


class Slow(Claims):
    """A store that receives the update slowly."""

    def put(self, path: Path, profile: str = DEFAULT_PROFILE, *, progress: Progress | None = None) -> Stored:
        assert progress is not None
        for sent in range(1, 7):
            threading.Event().wait(0.25)
            progress(sent, 6)
        return super().put(path, profile)


async def test_an_upload_that_makes_progress_is_not_cut_off(update: Update, shelf: FakeGateway) -> None:
    """It takes longer than half of the time that is left."""
    shelf.files = {update.cid: DATA}
    stores = publisher(shelf, Time(), Slow(update.cid, "slow"), Claims(update.cid, "last"))
    pinned = await stores.pin(update, log=MemoryUploadLog(), scratch=update.path.with_name("s"), seconds_left=2.0)
    assert pinned.provider == "slow"


async def test_the_last_store_has_all_the_time_that_is_left(update: Update, shelf: FakeGateway) -> None:
    shelf.files = {update.cid: DATA}
    log, scratch = MemoryUploadLog(), update.path.with_name("s")
    for stores in ([Claims(update.cid)], [Claims(StoreUnavailable("It is down."), "one"), Claims(update.cid)]):
        pinned = await publisher(shelf, Time(), *stores).pin(update, log=log, scratch=scratch, seconds_left=1e-6)
        assert pinned.provider == "claims"


async def test_a_gateway_that_never_finishes_is_not_waited_for(tmp_path: Path, shelf: FakeGateway) -> None:
    path = tmp_path / "update.pt"
    path.write_bytes(b"small")
    update = LocalFile.of(path)
    shelf.files = {update.cid: b"small"}
    shelf.faults = [silent]
    stores = replace(publisher(shelf, Time(), Claims(update.cid), seconds=0.0), fetch_seconds=0.1)
    log, scratch = MemoryUploadLog(), tmp_path / "read-back"
    with pytest.raises(StoreUnavailable, match="cannot be read back yet: No gateway delivered the update within 0 s"):
        await stores.pin(update, log=log, scratch=scratch)
    assert log.get("claims") == Upload("claims", update.cid, UploadState.STORED, update.cid)


async def test_a_stores_own_time_limit_is_not_taken_for_the_deadline(update: Update, shelf: FakeGateway) -> None:
    class Slow(Claims):
        def put(self, path: Path, profile: str = DEFAULT_PROFILE, *, progress: Progress | None = None) -> Stored:
            raise TimeoutError("the store's own")

    with pytest.raises(TimeoutError, match="the store's own"):
        await publisher(shelf, Time(), Slow(""), Claims("")).pin(
            update, log=MemoryUploadLog(), scratch=update.path.with_name("s"), seconds_left=60.0
        )


async def test_all_that_failed_is_named(update: Update, shelf: FakeGateway) -> None:
    stores = (
        Claims(StoreRejected("Its key is wrong.", fix="Set the key."), "one"),
        Claims(StoreUnavailable("It is down.", fix="Start it.", retry_after=9), "two"),
        Claims(StoreUnavailable("It is busy.", retry_after=5), "three"),
    )
    with pytest.raises(StoreUnavailable) as caught:
        await publisher(shelf, Time(), *stores).pin(update, log=MemoryUploadLog(), scratch=update.path.with_name("s"))
    assert str(caught.value) == (
        "No storage accepted the update: one: Its key is wrong; two: It is down; three: It is busy. "
        "Set the key. Start it."
    )
    assert caught.value.retry_after == 5


async def test_a_store_that_gave_a_wrong_cid_is_not_sent_to_again(update: Update, shelf: FakeGateway) -> None:
    liar, log = Claims(str(Cid.of_block(1, RAW, b"x"))), MemoryUploadLog()
    for _ in range(3):
        with pytest.raises(IntegrityError, match="does not match"):
            await publisher(shelf, Time(), liar).pin(update, log=log, scratch=update.path.with_name("s"))
    assert len(liar.asked) == 1
    assert shelf.log == []


async def test_a_store_that_gave_a_wrong_cid_is_sent_to_again_after_some_minutes(
    update: Update, shelf: FakeGateway
) -> None:
    time, log = Time(), MemoryUploadLog()
    store = Claims(str(Cid.of_block(1, RAW, b"x")))
    stores, scratch = publisher(shelf, time, store), update.path.with_name("s")
    for minute in range(25):  # the first refusal without an upload is in minute 1
        time.now = 60.0 * minute
        with pytest.raises(IntegrityError, match="does not match"):
            await stores.pin(update, log=log, scratch=scratch)
    assert len(store.asked) == 3
    time.now += 600.0
    store.mend(update.cid)
    shelf.files = {update.cid: DATA}
    assert (await stores.pin(update, log=log, scratch=scratch)).cid == update.cid
    assert log.get("claims") == Upload("claims", update.cid, UploadState.READABLE, update.cid)


async def test_a_new_training_of_the_same_round_is_uploaded_anew(update: Update, shelf: FakeGateway) -> None:
    shelf.files = {update.cid: DATA}
    log, store = MemoryUploadLog(), Claims(update.cid)
    log.save(Upload("claims", "an older update's CID", UploadState.READABLE, "an older CID"))
    pinned = await publisher(shelf, Time(), store).pin(update, log=log, scratch=update.path.with_name("s"))
    assert pinned.cid == update.cid
    assert len(store.asked) == 1


class Killed(BaseException):
    """Raised where the process is killed."""


class MortalLog(MemoryUploadLog):
    """A log that raises `Killed` at the ``fatal``-th save, before or after the row is stored."""

    def __init__(self, fatal: int, *, after: bool) -> None:
        super().__init__()
        self._fatal = fatal
        self._after = after

    def save(self, upload: Upload) -> None:
        self._fatal -= 1
        if self._fatal == 0 and not self._after:
            raise Killed
        super().save(upload)
        if self._fatal == 0:
            raise Killed


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("fatal", [1, 2, 3])
@pytest.mark.parametrize("profile", ["kubo-v1", "kubo-v0", "v1-1m-174"])
async def test_a_publisher_killed_anywhere_pins_nothing_twice(
    profile: str, fatal: int, after: bool, update: Update, shelf: FakeGateway, cid_as: Callable[[str], str]
) -> None:
    cid = cid_as(profile)
    shelf.files = {cid: DATA}
    store, log = Claims(cid), MortalLog(fatal, after=after)
    scratch = update.path.with_name("s")
    with pytest.raises(Killed):
        await publisher(shelf, Time(), store).pin(update, log=log, scratch=scratch)
    pinned = await publisher(shelf, Time(), store).pin(update, log=log, scratch=scratch)
    assert pinned.cid == cid
    assert len(store.asked) == 1
    assert log.get("claims") == Upload("claims", update.cid, UploadState.READABLE, cid)


async def test_progress_names_the_store(update: Update, shelf: FakeGateway) -> None:
    shelf.files = {update.cid: DATA}
    told: list[tuple[str, int, int]] = []
    await publisher(shelf, Time(), Claims(update.cid)).pin(
        update,
        log=MemoryUploadLog(),
        scratch=update.path.with_name("s"),
        progress=lambda *news: told.append(news),
    )
    assert told == [("claims", len(DATA), len(DATA))]


async def test_an_upload_that_nobody_waits_for_ends(update: Update, shelf: FakeGateway) -> None:
    sending, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    class Slow(Claims):
        def put(self, path: Path, profile: str = DEFAULT_PROFILE, *, progress: Progress | None = None) -> Stored:
            assert progress is not None
            try:
                progress(1, 2)
                sending.set()
                go_on.wait(20)
                progress(2, 2)
            finally:
                ended.set()
            raise AssertionError("the upload went on")

    task = asyncio.create_task(
        publisher(shelf, Time(), Slow(update.cid)).pin(
            update, log=MemoryUploadLog(), scratch=update.path.with_name("s")
        )
    )
    await asyncio.to_thread(sending.wait, 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    assert await asyncio.to_thread(ended.wait, 20)
