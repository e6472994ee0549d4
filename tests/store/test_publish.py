"""A CID is handed on only when the bytes behind it were read back."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from decloud_pl.domain import Update
from decloud_pl.errors import ContentNotFound, IntegrityError, InvalidCid, StoreError, StoreUnavailable
from decloud_pl.store import Stored
from decloud_pl.store.cid import DEFAULT_PROFILE
from decloud_pl.store.gateway import GatewayReader
from decloud_pl.store.publish import publish
from decloud_pl.store.unixfs import cid_of_file

DATA = random.Random(4).randbytes(1_300_000)  # large enough for each profile to give another CID


class Claims:
    """A store elsewhere that says what it likes."""

    name = "claims"

    def __init__(self, claim: str | StoreError) -> None:
        self._claim = claim
        self.asked: list[tuple[Path, str]] = []

    def put(self, path: Path, profile: str = DEFAULT_PROFILE) -> Stored:
        self.asked.append((path, profile))
        if isinstance(self._claim, StoreError):
            raise self._claim
        return Stored(self._claim, profile, path.stat().st_size)


class Shelf:
    """What a gateway at the wire delivers by CID; anything else is not found."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            cid = self.path.removeprefix("/ipfs/").partition("?")[0]
            made.asked.append(cid)
            data = made.files.get(cid)
            self.send_response(404 if data is None else 200)
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *arguments: object) -> None:
            """Nothing goes to the console."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    made = Shelf(f"http://127.0.0.1:{server.server_port}")
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def update(tmp_path: Path) -> Update:
    path = tmp_path / "update.pt"
    path.write_bytes(DATA)
    cid = str(cid_of_file(path, "kubo-v1"))
    return Update(path, cid, "kubo-v1", len(DATA), "delta", 0.1, 0.2)


@pytest.fixture
def cid_as(update: Update) -> Callable[[str], str]:
    return lambda profile: str(cid_of_file(update.path, profile))


def published(update: Update, store: Claims, shelf: Shelf) -> str:
    scratch = update.path.with_name("scratch")
    try:
        pinned = publish(update, store=store, reader=GatewayReader([shelf.url]), scratch=scratch)
    finally:
        assert list(scratch.parent.iterdir()) == [update.path], "nothing read back is left"
        assert update.path.read_bytes() == DATA
    assert (pinned.provider, pinned.read_back_from, pinned.size) == ("claims", shelf.url, len(DATA))
    return pinned.cid


@pytest.mark.parametrize("profile", ["kubo-v1", "kubo-v0", "v1-1m-174"])
def test_a_cid_of_the_same_bytes_is_handed_on(
    profile: str, update: Update, shelf: Shelf, cid_as: Callable[[str], str]
) -> None:
    store = Claims(cid_as(profile))
    shelf.files[cid_as(profile)] = DATA
    assert published(update, store, shelf) == cid_as(profile)
    assert store.asked == [(update.path, update.profile)]
    assert shelf.asked == [cid_as(profile)]


def test_a_cid_of_other_bytes_is_not_handed_on(update: Update, shelf: Shelf, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"other bytes")
    cid = str(cid_of_file(other))
    other.unlink()
    shelf.files[cid] = b"other bytes"
    with pytest.raises(IntegrityError, match="other bytes"):
        published(update, Claims(cid), shelf)
    assert shelf.asked == []


@pytest.mark.parametrize("claim", ["", "../update.pt", "ok", "BAFY", "z" * 10_000])
def test_text_that_is_no_cid_is_not_handed_on(claim: str, update: Update, shelf: Shelf) -> None:
    with pytest.raises(InvalidCid):
        published(update, Claims(claim), shelf)
    assert shelf.asked == []


def test_what_nobody_can_fetch_is_not_handed_on(update: Update, shelf: Shelf) -> None:
    with pytest.raises(ContentNotFound):
        published(update, Claims(update.cid), shelf)
    assert shelf.asked == [update.cid]


@pytest.mark.parametrize("data", [b"", DATA[:-1], DATA[:-1] + b"?"])
def test_other_bytes_read_back_are_not_handed_on(data: bytes, update: Update, shelf: Shelf) -> None:
    shelf.files[update.cid] = data
    with pytest.raises(IntegrityError):
        published(update, Claims(update.cid), shelf)


def test_the_stores_own_error_passes_through(update: Update, shelf: Shelf) -> None:
    error = StoreUnavailable("The store is full.", retry_after=5.0)
    with pytest.raises(StoreUnavailable) as caught:
        published(update, Claims(error), shelf)
    assert caught.value is error
