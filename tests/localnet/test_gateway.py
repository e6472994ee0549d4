"""The local network's gateway over HTTP, and the trainer's gateway reader against it."""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp
import pytest

from decloud_pl.errors import ContentNotFound, LocalnetError, StoreUnavailable
from decloud_pl.localnet.gateway import RAW_TYPE, GatewayServer
from decloud_pl.store import Stored
from decloud_pl.store.embedded import EmbeddedStore
from decloud_pl.store.fetch.gateway import GatewayReader
from decloud_pl.store.ipfs.car import CONTENT_TYPE, file_in_car
from decloud_pl.store.ipfs.cid import PROFILES, RAW, Cid

DATA = random.Random(6).randbytes(600_001)
ABSENT = str(Cid.of_block(1, RAW, b"absent"))


class Client:
    """Sends requests to one gateway and reads the complete responses."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self.url = url

    async def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes, Mapping[str, str]]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._session.request(method, f"{self.url}{path}", headers=named) as response:
            return response.status, await response.read(), response.headers


@pytest.fixture
def store(tmp_path: Path) -> EmbeddedStore:
    return EmbeddedStore(tmp_path / "store")


@pytest.fixture
def stored(store: EmbeddedStore, tmp_path: Path) -> Stored:
    source = tmp_path / "source"
    source.write_bytes(DATA)
    return store.put(source)


@pytest.fixture
async def client(store: EmbeddedStore) -> AsyncIterator[Client]:
    async with GatewayServer(store, port=0) as server, aiohttp.ClientSession() as session:
        yield Client(session, server.url)


async def test_a_file_is_served_whole(client: Client, stored: Stored) -> None:
    status, data, headers = await client.get(f"/ipfs/{stored.cid}")
    assert (status, data) == (200, DATA)
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Length"] == str(len(DATA))
    assert headers["ETag"] == f'"{stored.cid}"'
    assert headers["X-Ipfs-Path"] == f"/ipfs/{stored.cid}"
    assert "immutable" in headers["Cache-Control"]


@pytest.mark.parametrize("query", ["", "?format=car", "?format=raw"])
async def test_head_gives_the_headers_alone(query: str, client: Client, stored: Stored) -> None:
    status, data, headers = await client.get(f"/ipfs/{stored.cid}{query}", "HEAD")
    _, _, expected = await client.get(f"/ipfs/{stored.cid}{query}")
    assert (status, data) == (200, b"")
    for name in ("Content-Type", "ETag"):
        assert headers[name] == expected[name]
    assert headers.get("Content-Length") == expected.get("Content-Length") or query == "?format=car"


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        ("bytes=300000-", 300_000, len(DATA)),
        ("bytes=-10", len(DATA) - 10, len(DATA)),
        ("bytes=600000-9999999", 600_000, len(DATA)),
    ],
)
async def test_a_range_is_served(asked: str, start: int, stop: int, client: Client, stored: Stored) -> None:
    status, data, headers = await client.get(f"/ipfs/{stored.cid}", Range=asked)
    assert (status, data) == (206, DATA[start:stop])
    assert headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(DATA)}"


@pytest.mark.parametrize(
    "asked", ["bytes=0-1,5-6", "bytes=9-5", "lines=1-2", "bytes=a-b", "bytes=0-", "bytes=-9999999"]
)
async def test_what_is_no_single_range_gives_the_whole_file(asked: str, client: Client, stored: Stored) -> None:
    status, data, _ = await client.get(f"/ipfs/{stored.cid}", Range=asked)
    assert (status, data) == (200, DATA)


@pytest.mark.parametrize("asked", ["bytes=600001-", "bytes=9999999-99999999"])
async def test_a_range_behind_the_end_is_refused(asked: str, client: Client, stored: Stored) -> None:
    status, _, headers = await client.get(f"/ipfs/{stored.cid}", Range=asked)
    assert status == 416
    assert headers["Content-Range"] == f"bytes */{len(DATA)}"


@pytest.mark.parametrize("header", [False, True])
async def test_the_root_block_is_served(header: bool, client: Client, stored: Stored) -> None:
    if header:
        status, data, headers = await client.get(f"/ipfs/{stored.cid}", Accept=RAW_TYPE)
    else:
        status, data, headers = await client.get(f"/ipfs/{stored.cid}?format=raw")
    assert status == 200
    assert Cid.parse(stored.cid).matches(data)
    assert headers["Content-Type"] == RAW_TYPE


@pytest.mark.parametrize("header", [False, True])
async def test_an_archive_is_served(header: bool, client: Client, stored: Stored) -> None:
    if header:
        status, data, headers = await client.get(f"/ipfs/{stored.cid}", Accept=f"{CONTENT_TYPE}; version=1, */*")
    else:
        status, data, headers = await client.get(f"/ipfs/{stored.cid}?format=car")
    assert status == 200
    assert b"".join(file_in_car(io.BytesIO(data), Cid.parse(stored.cid))) == DATA
    assert headers["Content-Type"].startswith(CONTENT_TYPE)


@pytest.mark.parametrize("query", ["", "?format=car", "?format=raw"])
async def test_what_the_client_has_is_not_sent_again(query: str, client: Client, stored: Stored) -> None:
    _, _, headers = await client.get(f"/ipfs/{stored.cid}{query}")
    status, data, _ = await client.get(f"/ipfs/{stored.cid}{query}", If_None_Match=headers["ETag"])
    assert (status, data) == (304, b"")
    status, data, _ = await client.get(f"/ipfs/{stored.cid}{query}", If_None_Match='"other"')
    assert status == 200
    assert data


async def test_the_forms_have_different_tags(client: Client, stored: Stored) -> None:
    tags = [(await client.get(f"/ipfs/{stored.cid}{query}"))[2]["ETag"] for query in ("", "?format=car", "?format=raw")]
    assert len(set(tags)) == 3


@pytest.mark.parametrize(
    "name", ["x", "bafy", "..%2f..%2fsource", "%2e%2e%2fsource", "%00", "a" * 4000, ABSENT.upper()]
)
async def test_what_is_no_cid_is_a_bad_request(name: str, client: Client, stored: Stored) -> None:
    status, data, _ = await client.get(f"/ipfs/{name}")
    assert status == 400
    assert data != DATA


async def test_an_unknown_format_is_a_bad_request(client: Client, stored: Stored) -> None:
    assert (await client.get(f"/ipfs/{stored.cid}?format=zip"))[0] == 400


@pytest.mark.parametrize("path", [f"/ipfs/{ABSENT}", f"/ipfs/{ABSENT}?format=car", "/", "/ipfs/", "/ipns/x"])
async def test_what_is_absent_is_not_found(path: str, client: Client) -> None:
    assert (await client.get(path))[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_nothing_can_be_changed(method: str, client: Client, stored: Stored) -> None:
    assert (await client.get(f"/ipfs/{stored.cid}", method))[0] == 405


@pytest.mark.parametrize("query", ["", "?format=car", "?format=raw"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_damaged_bytes_are_not_served(
    method: str, query: str, client: Client, stored: Stored, tmp_path: Path
) -> None:
    changed = bytearray(DATA)
    changed[300_000] ^= 1
    (tmp_path / "store" / stored.cid).write_bytes(changed)
    status, data, _ = await client.get(f"/ipfs/{stored.cid}{query}", method)
    assert status == 500
    assert len(data) < 200
    assert str(tmp_path).encode() not in data


@pytest.mark.parametrize("query", ["", "?format=car"])
async def test_a_client_that_hangs_up_is_no_defect(
    query: str, client: Client, store: EmbeddedStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "large"
    source.write_bytes(bytes(32 << 20))  # larger than the socket buffers
    cid = store.put(source).cid
    port = int(client.url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /ipfs/{cid}{query} HTTP/1.1\r\nHost: gateway\r\n\r\n".encode())
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    writer.transport.abort()
    # The server keeps serving other clients, now and after the disconnect.
    status, data, _ = await client.get(f"/ipfs/{cid}{query}")
    assert status == 200
    assert len(data) >= 32 << 20
    assert caplog.records == []


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("size", [0, 1, 600_001])
async def test_the_reader_takes_what_the_server_gives(
    size: int, profile: str, client: Client, store: EmbeddedStore, tmp_path: Path
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(DATA[:size])
    cid = store.put(source, profile).cid
    fetched = await asyncio.to_thread(GatewayReader([client.url]).fetch, cid, target, max_bytes=size)
    assert (fetched.gateway, fetched.size) == (client.url, size)
    assert target.read_bytes() == DATA[:size]


async def test_the_reader_understands_the_servers_errors(client: Client, stored: Stored, tmp_path: Path) -> None:
    target = tmp_path / "target"
    reader = GatewayReader([client.url])
    with pytest.raises(ContentNotFound):
        await asyncio.to_thread(reader.fetch, ABSENT, target, max_bytes=1)
    (tmp_path / "store" / stored.cid).write_bytes(DATA[::-1])
    with pytest.raises(StoreUnavailable):
        await asyncio.to_thread(reader.fetch, stored.cid, target, max_bytes=len(DATA))
    assert not target.exists()


async def test_a_taken_port_is_one_clear_sentence(client: Client, store: EmbeddedStore) -> None:
    port = int(client.url.rsplit(":", 1)[1])
    with pytest.raises(LocalnetError, match=str(port)):
        async with GatewayServer(store, port=port):
            pass
