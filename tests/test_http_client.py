"""Exchanges with servers that send without end, slowly or unrequested data. Each ends and reads little."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from decloud_pl.data.entry import DataFolder, Entry
from decloud_pl.data.fetch.download import download_entry
from decloud_pl.errors import DatasetError, StoreError
from decloud_pl.http_client import BoundedSession
from decloud_pl.retry import Retry
from decloud_pl.store.fetch.gateway import GatewayReader
from decloud_pl.store.kubo import KuboStore
from decloud_pl.store.pinata.credentials import PinataCredentials
from decloud_pl.store.pinata.http import PinataHttp
from tests.store.fakes.oracle import cid_of
from tests.store.fakes.server import Request, Server

PIECE = bytes(1 << 16)
Behaviour = Callable[["Hostile", Request], None]


class Hostile(Server):
    """Handles every client with one function and counts the bytes sent; ``over`` is set when a client has left."""

    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__()
        self.behaviour = behaviour
        self.sent = 0
        self.over = threading.Event()

    def handle(self, request: Request) -> None:
        try:
            self.behaviour(self, request)
        finally:
            request.hang_up()
            self.over.set()

    def flood(self, request: Request, piece: bytes = PIECE) -> None:
        while not self.ended.is_set():
            request.handler.wfile.write(piece)
            self.sent += len(piece)

    def drip(self, request: Request) -> None:
        while not self.ended.wait(0.02):
            request.handler.wfile.write(b"x")


def head(request: Request, status: int = 200, **headers: str) -> None:
    request.handler.send_response(status)
    for name, value in headers.items():
        request.handler.send_header(name.replace("_", "-"), value)
    request.handler.end_headers()


def endless_redirect(server: Hostile, request: Request) -> None:
    head(request, 302, Location="/elsewhere")
    server.flood(request)


def refusal(server: Hostile, request: Request) -> None:
    request.answer(404)


def endless_body(server: Hostile, request: Request) -> None:
    head(request)
    server.flood(request)


def dripping_body(server: Hostile, request: Request) -> None:
    head(request)
    server.drip(request)


def dripping_head(server: Hostile, request: Request) -> None:
    server.drip(request)


def endless_chunk_size(server: Hostile, request: Request) -> None:
    head(request, Transfer_Encoding="chunked")
    server.flood(request, b"1" * len(PIECE))


def compressed(server: Hostile, request: Request) -> None:
    head(request, Content_Encoding="gzip")
    request.handler.wfile.write(gzip.compress(bytes(1 << 26)))
    server.sent = 1


@pytest.fixture
def hostile(request: pytest.FixtureRequest) -> Iterator[Hostile]:
    with Hostile(request.param) as server:
        yield server


@pytest.mark.parametrize("hostile", [endless_redirect], indirect=True)
def test_the_body_of_a_redirect_is_not_read(hostile: Hostile) -> None:
    with BoundedSession(20.0) as session:
        response = session.get(f"{hostile.url}/file", timeout=20)
        assert (response.status_code, response.headers["Location"]) == (302, "/elsewhere")
        assert [path for _, path in hostile.log] == ["/file"]
    assert hostile.over.wait(20)
    assert hostile.sent < 1 << 24  # the bytes in the buffers of the sockets


@pytest.mark.parametrize("hostile", [dripping_body, dripping_head], indirect=True)
def test_a_deadline_also_counts_while_bytes_drip_in(hostile: Hostile) -> None:
    with BoundedSession(0.3) as session, pytest.raises(requests.Timeout):
        list(session.body(session.get(hostile.url, timeout=20), 1 << 16))
    assert session.expired
    assert hostile.over.wait(20)


@pytest.mark.parametrize("hostile", [dripping_body, dripping_head], indirect=True)
def test_another_thread_can_end_an_exchange(hostile: Hostile) -> None:
    with BoundedSession(600.0) as session:
        helper = threading.Timer(0.1, session.abort)
        helper.start()
        with pytest.raises(requests.RequestException):
            list(session.body(session.get(hostile.url, timeout=20), 1 << 16))
        helper.join()
    assert not session.expired


@pytest.mark.parametrize("hostile", [endless_chunk_size], indirect=True)
def test_a_chunk_size_without_end_is_refused(hostile: Hostile) -> None:
    with BoundedSession(20.0) as session, pytest.raises(requests.ConnectionError):
        list(session.body(session.get(hostile.url, timeout=20), 1 << 16))
    assert hostile.over.wait(20)
    assert hostile.sent < 1 << 24


@pytest.mark.parametrize("hostile", [compressed], indirect=True)
def test_a_compressed_body_is_refused_unread(hostile: Hostile) -> None:
    with BoundedSession(20.0) as session:
        response = session.get(hostile.url, timeout=20)
        with pytest.raises(requests.exceptions.ContentDecodingError):
            list(session.body(response, 1 << 16))
    assert hostile.seen_headers[0]["Accept-Encoding"] == "identity"


def by_gateway(url: str, folder: Path) -> None:
    GatewayReader([url], timeout=5).fetch(cid_of(b"a file", 1), folder / "file", max_bytes=1 << 20)


def by_pinata(url: str, folder: Path) -> None:
    PinataHttp(PinataCredentials(jwt="a-key"), timeout=5).request("GET", f"{url}/data/testAuthentication")


def by_download(url: str, folder: Path) -> None:
    node = {
        "name": "mine",
        "kind": "image",
        "num_classes": 2,
        "licence": "-",
        "size": "-",
        "folder": "Mine",
        "files": ["file"],
        "downloads": [{"file": "file", "urls": [f"{url}/file"]}],
    }
    download_entry(Entry.from_node("mine", {"entry": node}), DataFolder(folder), sleep=lambda _: None)


def by_kubo(url: str, folder: Path) -> None:
    host, port = url.removeprefix("http://").split(":")
    KuboStore(f"/ip4/{host}/tcp/{port}/http", timeout=5, retry=Retry(attempts=1)).check()


@pytest.mark.parametrize("client", [by_gateway, by_pinata, by_download, by_kubo])
@pytest.mark.parametrize("hostile", [endless_redirect, endless_chunk_size, compressed], indirect=True)
def test_every_client_ends_in_one_sentence(
    hostile: Hostile, client: Callable[[str, Path], None], tmp_path: Path
) -> None:
    with pytest.raises((StoreError, DatasetError)) as caught:
        client(hostile.url, tmp_path)
    assert caught.value.message.count("\n") == 0
    assert hostile.sent < 1 << 26


@pytest.mark.parametrize("client", [by_pinata, by_kubo])
@pytest.mark.parametrize("hostile", [endless_body], indirect=True)
def test_an_answer_without_end_is_given_up(
    hostile: Hostile, client: Callable[[str, Path], None], tmp_path: Path
) -> None:
    with pytest.raises(StoreError):
        client(hostile.url, tmp_path)
    assert hostile.sent < 1 << 26


@pytest.mark.parametrize("client", [by_gateway, by_pinata, by_download, by_kubo])
@pytest.mark.parametrize("hostile", [refusal], indirect=True)
def test_no_server_gets_a_login_from_netrc(
    hostile: Hostile, client: Callable[[str, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "to").mkdir()
    with pytest.raises((StoreError, DatasetError)):
        client(hostile.url, tmp_path / "to")
    assert hostile.seen_headers
    logins = {headers.get("Authorization") for headers in hostile.seen_headers}
    assert logins == {"Bearer a-key" if client is by_pinata else None}
