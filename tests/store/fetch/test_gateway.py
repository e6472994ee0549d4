"""Downloads from gateways that fail, lie, stall or redirect: correct bytes, or no file and the right error."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from decloud_pl.errors import (
    ConfigError,
    ContentNotFound,
    DecloudError,
    IntegrityError,
    InvalidCid,
    SizeLimitExceeded,
    StoreError,
    StoreUnavailable,
)
from decloud_pl.store.embedded import EmbeddedStore
from decloud_pl.store.fetch.download import within
from decloud_pl.store.fetch.fetcher import Cancelled
from decloud_pl.store.fetch.gateway import GatewayReader
from decloud_pl.store.ipfs.car import CONTENT_TYPE
from decloud_pl.store.ipfs.cid import PROFILES

DATA = random.Random(11).randbytes(600_001)
MIB = 1 << 20

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Gateway:
    """A fake gateway. ``answer`` selects its behavior, and ``requests`` records the requests."""

    url: str
    answer: Answer
    requests: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)


@pytest.fixture
def gateway() -> Iterator[Callable[[Answer], Gateway]]:
    servers: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def start(answer: Answer) -> Gateway:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                made.requests.append(self.path)
                made.accepted.append(self.headers["Accept"])
                made.ranges.append(self.headers.get("Range"))
                try:
                    made.answer(self)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def log_message(self, *arguments: object) -> None:
                """Print nothing to the console."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = False
        made = Gateway(f"http://127.0.0.1:{server.server_port}", answer)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return made

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


def body(data: bytes, content_type: str = "application/octet-stream", *, length: int | None = None) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", content_type)
        if length is not None:
            request.send_header("Content-Length", str(length))
        request.end_headers()
        request.wfile.write(data)

    return answer


def archive(data: bytes) -> Answer:
    return body(data, f"{CONTENT_TYPE}; version=1; order=dfs; dups=y")


def status(code: int, **headers: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", "3")
        request.end_headers()
        request.wfile.write(b"no\n")

    return answer


def endless(content_type: str, start: bytes = b"", piece: bytes = bytes(65_536)) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        body(start, content_type)(request)
        while True:
            request.wfile.write(piece)

    return answer


def hang_up(request: BaseHTTPRequestHandler) -> None:
    request.connection.shutdown(socket.SHUT_RDWR)
    request.close_connection = True


def bad_chunks(request: BaseHTTPRequestHandler) -> None:
    request.protocol_version = "HTTP/1.1"
    request.send_response(200)
    request.send_header("Transfer-Encoding", "chunked")
    request.end_headers()
    request.wfile.write(b"5\r\nhello\r\nzz\r\n")


def bad_gzip(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Encoding", "gzip")
    request.end_headers()
    request.wfile.write(b"this is not gzip")


def no_http(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"SSH-2.0-OpenSSH_9.0\r\n\r\n")


Start = Callable[[Answer], Gateway]


@dataclass(frozen=True)
class Content:
    cid: str
    car: bytes


@pytest.fixture
def content(tmp_path: Path) -> Content:
    return content_of(tmp_path, DATA)


def content_of(tmp_path: Path, data: bytes, profile: str = "kubo-v1") -> Content:
    source = tmp_path / "source"
    source.write_bytes(data)
    store = EmbeddedStore(tmp_path / "store")
    cid = store.put(source, profile).cid
    return Content(cid, b"".join(store.car(cid)))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "downloads"
    folder.mkdir()
    return folder / "file"


def fetch(target: Path, cid: str, *gateways: Gateway, max_bytes: int = len(DATA)) -> str:
    fetched = GatewayReader([gateway.url for gateway in gateways], timeout=5).fetch(cid, target, max_bytes=max_bytes)
    assert fetched.size == target.stat().st_size
    assert list(target.parent.iterdir()) == [target]
    return fetched.gateway


def refused(
    kind: type[DecloudError], target: Path, cid: str, *gateways: Gateway, max_bytes: int = len(DATA)
) -> DecloudError:
    with pytest.raises(DecloudError) as caught:
        fetch(target, cid, *gateways, max_bytes=max_bytes)
    assert type(caught.value) is kind
    assert not list(target.parent.iterdir()), "no file must appear or remain"
    return caught.value


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("form", ["car", "plain"])
def test_right_bytes_are_taken_in_either_form(
    form: str, profile: str, gateway: Start, target: Path, tmp_path: Path
) -> None:
    content = content_of(tmp_path, DATA, profile)
    source = gateway(archive(content.car) if form == "car" else body(DATA))
    assert fetch(target, content.cid, source) == source.url
    assert target.read_bytes() == DATA
    assert source.requests == [f"/ipfs/{content.cid}?format=car"]
    assert CONTENT_TYPE in source.accepted[0]


@pytest.mark.parametrize("answer", [body(b""), body(b"", length=0)])
def test_an_empty_file(answer: Answer, gateway: Start, target: Path, tmp_path: Path) -> None:
    fetch(target, content_of(tmp_path, b"").cid, gateway(answer), max_bytes=0)
    assert target.read_bytes() == b""


def test_an_older_file_is_replaced(gateway: Start, content: Content, target: Path) -> None:
    target.write_bytes(b"old")
    fetch(target, content.cid, gateway(archive(content.car)))
    assert target.read_bytes() == DATA


def test_an_older_file_stays_when_the_download_fails(gateway: Start, content: Content, target: Path) -> None:
    target.write_bytes(b"old")
    with pytest.raises(IntegrityError):
        fetch(target, content.cid, gateway(body(b"wrong")))
    assert target.read_bytes() == b"old"
    assert list(target.parent.iterdir()) == [target]


FLIPPED = DATA[:-1] + bytes((DATA[-1] ^ 1,))


@pytest.mark.parametrize(
    "answer",
    [
        body(b""),
        body(b"<html>not found</html>", "text/html"),
        body(FLIPPED),
        body(DATA[:-1]),
        body(DATA[:300_000]),
        archive(b""),
        archive(b"<html>not found</html>"),
        archive(DATA),
        endless(CONTENT_TYPE),
    ],
    ids=lambda value: "answer",
)
def test_wrong_bytes_are_refused_and_the_next_gateway_asked(
    answer: Answer, gateway: Start, content: Content, target: Path
) -> None:
    liar, honest = gateway(answer), gateway(archive(content.car))
    refused(IntegrityError, target, content.cid, liar)
    assert fetch(target, content.cid, liar, honest) == honest.url
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("end", [1, 40, 1000, -1, -300_000])
def test_a_truncated_archive_is_refused(end: int, gateway: Start, content: Content, target: Path) -> None:
    refused(IntegrityError, target, content.cid, gateway(archive(content.car[:end])))


def test_an_archive_with_a_flipped_byte_is_refused(gateway: Start, content: Content, target: Path) -> None:
    changed = bytearray(content.car)
    changed[-5] ^= 1
    refused(IntegrityError, target, content.cid, gateway(archive(bytes(changed))))


@pytest.mark.parametrize("code", [404, 410])
def test_what_nobody_has_is_not_found(code: int, gateway: Start, content: Content, target: Path) -> None:
    one, other = gateway(status(code)), gateway(status(404))
    refused(ContentNotFound, target, content.cid, one, other)
    assert len(one.requests) == len(other.requests) == 1


def test_the_gateway_that_has_it_is_found(gateway: Start, content: Content, target: Path) -> None:
    honest = gateway(body(DATA))
    assert fetch(target, content.cid, gateway(status(404)), gateway(status(500)), honest) == honest.url


@pytest.mark.parametrize("code", [400, 403, 429, 500, 502, 503, 504, 206, 204])
def test_any_other_status_is_worth_another_try(code: int, gateway: Start, content: Content, target: Path) -> None:
    error = refused(StoreUnavailable, target, content.cid, gateway(status(code)))
    assert str(code) in str(error)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0", 0.0), ("9" * 400, 3600.0), ("\xb2", None), ("-1", None), ("soon", None), ("", None)],
)
def test_the_time_to_wait_is_handed_on(
    header: str, seconds: float | None, gateway: Start, content: Content, target: Path
) -> None:
    error = refused(StoreUnavailable, target, content.cid, gateway(status(429, Retry_After=header)))
    assert isinstance(error, StoreUnavailable)
    assert error.retry_after == seconds


@pytest.mark.parametrize(
    ("others", "seconds"),
    [([status(404)], None), ([status(504)], None), ([body(b"wrong")], None), ([status(503, Retry_After="9")], 9.0)],
)
def test_one_gateway_cannot_make_the_others_wait(
    others: list[Answer], seconds: float | None, gateway: Start, content: Content, target: Path
) -> None:
    asked = [gateway(answer) for answer in (status(429, Retry_After="3600"), *others)]
    for order in (asked, asked[::-1]):
        error = refused(StoreUnavailable, target, content.cid, *order)
        assert isinstance(error, StoreUnavailable)
        assert error.retry_after == seconds


@pytest.mark.parametrize(
    "answer", [hang_up, bad_chunks, bad_gzip, no_http, body(DATA, length=len(DATA) + 1), body(b"x", length=100)]
)
def test_a_connection_that_breaks_off_is_worth_another_try(
    answer: Answer, gateway: Start, content: Content, target: Path
) -> None:
    refused(StoreUnavailable, target, content.cid, gateway(answer))


def test_an_archive_cut_within_its_length_is_worth_another_try(gateway: Start, content: Content, target: Path) -> None:
    cut = body(content.car[:400_000], CONTENT_TYPE, length=len(content.car))
    refused(StoreUnavailable, target, content.cid, gateway(cut))


def test_a_gateway_that_is_not_there_is_worth_another_try(content: Content, target: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening, so it refuses connections
        absent = Gateway(f"http://127.0.0.1:{taken.getsockname()[1]}", hang_up)
        refused(StoreUnavailable, target, content.cid, absent)


def test_the_most_hopeful_failure_is_reported(gateway: Start, content: Content, target: Path) -> None:
    liar, without, down = gateway(body(b"wrong")), gateway(status(404)), gateway(status(503))
    refused(ContentNotFound, target, content.cid, liar, without)
    refused(StoreUnavailable, target, content.cid, liar, without, down)


def test_a_silent_gateway_is_given_up(gateway: Start, content: Content, target: Path) -> None:
    done = threading.Event()

    def silent(request: BaseHTTPRequestHandler) -> None:
        done.wait(20)

    source = gateway(silent)
    try:
        with pytest.raises(StoreUnavailable):
            GatewayReader([source.url], timeout=0.2).fetch(content.cid, target, max_bytes=MIB)
    finally:
        done.set()


def test_a_gateway_that_trickles_is_given_up(gateway: Start, content: Content, target: Path) -> None:
    done = threading.Event()

    def drip(request: BaseHTTPRequestHandler) -> None:
        body(b"")(request)
        while not done.wait(0.05):
            request.wfile.write(b"x")

    source = gateway(drip)
    try:
        with pytest.raises(StoreUnavailable, match="did not deliver the file within"):
            GatewayReader([source.url], total_seconds=0.5).fetch(content.cid, target, max_bytes=100 * MIB)
    finally:
        done.set()
    assert not list(target.parent.iterdir())
    assert len(source.requests) == 1


@pytest.mark.parametrize("limit", [0, 1, 299_999])
@pytest.mark.parametrize("form", ["car", "plain"])
def test_a_file_over_the_limit_is_refused(
    form: str, limit: int, gateway: Start, content: Content, target: Path
) -> None:
    source = gateway(archive(content.car) if form == "car" else body(DATA))
    refused(SizeLimitExceeded, target, content.cid, source, max_bytes=limit)


def test_a_stream_without_end_is_refused_at_the_limit(gateway: Start, content: Content, target: Path) -> None:
    refused(SizeLimitExceeded, target, content.cid, gateway(endless("text/plain")), max_bytes=MIB)


def test_a_block_far_beyond_the_limit_is_not_waited_for(gateway: Start, content: Content, target: Path) -> None:
    start = content.car[:59] + b"\xff\xff\x7f"  # the header, then the length of a block of 2 MiB
    refused(SizeLimitExceeded, target, content.cid, gateway(endless(CONTENT_TYPE, start)), max_bytes=100)


def test_the_limit_itself_is_accepted(gateway: Start, content: Content, target: Path) -> None:
    fetch(target, content.cid, gateway(archive(content.car)), max_bytes=len(DATA))


def redirect(location: str, then: Answer | None = None) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        if then is not None and request.path == "/moved":
            then(request)
        else:
            status(302, Location=location)(request)

    return answer


def test_a_redirect_on_the_same_host_is_followed(gateway: Start, content: Content, target: Path) -> None:
    source = gateway(redirect("/moved", archive(content.car)))
    fetch(target, content.cid, source)
    assert source.requests == [f"/ipfs/{content.cid}?format=car", "/moved"]


def test_a_redirect_to_another_host_is_not_followed(gateway: Start, content: Content, target: Path) -> None:
    elsewhere = gateway(archive(content.car))
    error = refused(StoreUnavailable, target, content.cid, gateway(redirect(f"{elsewhere.url}/moved?k=KEY")))
    assert f"redirects to an address outside the gateway ({elsewhere.url}/" not in str(error)
    assert f"redirects to an address outside the gateway ({elsewhere.url})" in str(error)
    assert elsewhere.requests == []


@pytest.mark.parametrize("own", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("host", ["{cid}.ipfs.localhost", "localhost"])
def test_a_redirect_below_localhost_stays_on_this_machine(
    own: str, host: str, gateway: Start, content: Content, target: Path
) -> None:
    # Kubo gives each file its own origin in this way. Few resolvers support subdomains of localhost.
    named = host.format(cid=content.cid)
    hosts: list[str] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        hosts.append(request.headers["Host"])
        moved = request.path == "/moved"
        (archive(content.car) if moved else redirect(f"http://{named}:{port}/moved"))(request)

    source = gateway(answer)
    port = source.url.rpartition(":")[2]
    GatewayReader([f"http://{own}:{port}"]).fetch(content.cid, target, max_bytes=len(DATA))
    assert target.read_bytes() == DATA
    assert hosts == [f"{own}:{port}", f"{named}:{port}"]


@pytest.mark.parametrize("tail", ["/", "/ipfs", "/ipfs/"])
def test_an_address_may_end_in_ipfs(tail: str, gateway: Start, content: Content, target: Path) -> None:
    source = gateway(archive(content.car))
    GatewayReader([source.url + tail]).fetch(content.cid, target, max_bytes=len(DATA))
    assert source.requests == [f"/ipfs/{content.cid}?format=car"]


def test_a_gateway_that_is_not_running_is_named(content: Content, target: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(StoreUnavailable, match=f"The gateway {place} refused the connection"):
            GatewayReader([f"http://{place}"]).fetch(content.cid, target, max_bytes=len(DATA))


@pytest.mark.parametrize("code", [401, 403, 451])
def test_a_gateway_that_keeps_files_to_itself_is_named(
    code: int, gateway: Start, content: Content, target: Path
) -> None:
    error = refused(StoreUnavailable, target, content.cid, gateway(status(code)))
    assert f"denies access to the file (HTTP {code})" in str(error)


def test_silence_is_named(gateway: Start, content: Content, target: Path) -> None:
    over = threading.Event()

    def wait(request: BaseHTTPRequestHandler) -> None:
        over.wait(10)
        hang_up(request)

    source = gateway(wait)
    try:
        with pytest.raises(StoreUnavailable, match="timed out"):
            GatewayReader([source.url], timeout=0.1).fetch(content.cid, target, max_bytes=len(DATA))
    finally:
        over.set()


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "//example.invalid/x", "http://[", "https://127.0.0.1/", "http://127.0.0.1:99999999/"],
)
def test_a_redirect_that_leads_astray_is_refused(location: str, gateway: Start, content: Content, target: Path) -> None:
    refused(StoreUnavailable, target, content.cid, gateway(redirect(location)))


@pytest.mark.parametrize("location", ["/again", "", "?x"])
def test_redirects_in_circles_end(location: str, gateway: Start, content: Content, target: Path) -> None:
    source = gateway(redirect(location))
    refused(StoreUnavailable, target, content.cid, source)
    assert len(source.requests) == 4


@pytest.mark.parametrize("cid", ["", "../../secret", "bafy", "QmX\r\nHost: evil", "http://127.0.0.1/"])
def test_a_bad_cid_is_refused_before_anybody_is_asked(cid: str, gateway: Start, target: Path) -> None:
    source = gateway(status(404))
    refused(InvalidCid, target, cid, source)
    assert source.requests == []


def test_a_folder_that_does_not_exist_is_a_store_error(gateway: Start, content: Content, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        fetch(tmp_path / "absent" / "file", content.cid, gateway(archive(content.car)))


def test_a_reader_without_a_session_leaves_no_connection_open(gateway: Start, content: Content, target: Path) -> None:
    source = gateway(body(DATA, length=len(DATA)))
    GatewayReader([source.url]).fetch(content.cid, target, max_bytes=len(DATA))
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("urls", [[], ["ftp://x"], ["ipfs.io"], [""], ["http://"], ["file:///x"], ["https://ok", "x"]])
def test_an_address_that_is_no_gateway_is_a_config_error(urls: list[str]) -> None:
    with pytest.raises(ConfigError):
        GatewayReader(urls)


def test_a_redirect_to_the_gateways_own_subdomain_is_followed() -> None:
    # Public gateways give each file its own origin, `<cid>.ipfs.<host>`. Loopback addresses have no subdomains.
    assert within("https://bafy.ipfs.dweb.link/", "https://dweb.link")
    assert within("https://dweb.link/x", "https://dweb.link")
    for target_url in (
        "https://evildweb.link/",
        "https://dweb.link.evil.example/",
        "http://bafy.ipfs.dweb.link/",
        "https://bafy.ipfs.dweb.link:444/",
        "https://user@bafy.ipfs.dweb.link/",
        "https://dweb.link:99999999/",
        "",
    ):
        assert not within(target_url, "https://dweb.link")
    assert not within("http://bafy.ipfs.localhost:8080/", "http://gateway.example:8080")
    assert not within("http://bafy.ipfs.localhost:22/", "http://127.0.0.1:8080")


def breaking_off(data: bytes, end: int, content_type: str = "application/octet-stream") -> Answer:
    """Send the beginning of a file and close the connection."""
    return body(data[:end], content_type, length=len(data))


def ranged(data: bytes) -> Answer:
    """A gateway that supports range requests."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        if asked is None:
            body(data)(request)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        request.send_response(206)
        request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        request.end_headers()
        request.wfile.write(data[start:])

    return answer


@pytest.mark.parametrize("form", ["car", "plain"])
def test_the_next_gateway_goes_on_where_one_broke_off(
    form: str, gateway: Start, content: Content, target: Path
) -> None:
    first = breaking_off(content.car, 500_000, CONTENT_TYPE) if form == "car" else breaking_off(DATA, 500_000)
    one, other = gateway(first), gateway(ranged(DATA))
    assert fetch(target, content.cid, one, other) == other.url
    assert target.read_bytes() == DATA
    (asked,) = other.ranges
    assert asked is not None
    begin = int(asked.removeprefix("bytes=").removesuffix("-"))
    assert begin == (262_144 if form == "car" else 500_000), (
        "the reader must keep whole verified blocks, or all received bytes"
    )


def test_a_gateway_alone_is_asked_for_the_rest(gateway: Start, content: Content, target: Path) -> None:
    times = 0

    def answer(request: BaseHTTPRequestHandler) -> None:
        nonlocal times
        times += 1
        (breaking_off(content.car, 500_000, CONTENT_TYPE) if times == 1 else ranged(DATA))(request)

    source = gateway(answer)
    fetch(target, content.cid, source)
    assert target.read_bytes() == DATA
    assert source.ranges == [None, "bytes=262144-"]


def test_a_false_beginning_does_not_spoil_an_honest_rest(gateway: Start, content: Content, target: Path) -> None:
    liar = gateway(breaking_off(bytes(len(DATA)), 500_000))
    honest = gateway(ranged(DATA))
    GatewayReader([liar.url, honest.url], timeout=5).fetch(content.cid, target, max_bytes=len(DATA))
    assert target.read_bytes() == DATA
    assert honest.ranges == ["bytes=500000-", None]


def test_a_false_rest_does_not_spoil_a_verified_beginning(gateway: Start, content: Content, target: Path) -> None:
    one = gateway(breaking_off(content.car, 500_000, CONTENT_TYPE))
    liar, honest = gateway(ranged(bytes(len(DATA)))), gateway(ranged(DATA))
    assert fetch(target, content.cid, one, liar, honest) == honest.url
    assert target.read_bytes() == DATA
    assert honest.ranges == ["bytes=262144-"]


@pytest.mark.parametrize("answer", [body(DATA), status(416)])
def test_a_gateway_that_cannot_continue_is_used_all_the_same(
    answer: Answer, gateway: Start, content: Content, target: Path
) -> None:
    def only_whole(request: BaseHTTPRequestHandler) -> None:
        (answer if request.headers.get("Range") else body(DATA))(request)

    one, other = gateway(breaking_off(content.car, 500_000, CONTENT_TYPE)), gateway(only_whole)
    assert fetch(target, content.cid, one, other) == other.url
    assert target.read_bytes() == DATA


def test_another_part_than_asked_for_is_refused(gateway: Start, content: Content, target: Path) -> None:
    def wrong_part(request: BaseHTTPRequestHandler) -> None:
        request.send_response(206)
        request.send_header("Content-Range", f"bytes 5-{len(DATA) - 1}/{len(DATA)}")
        request.end_headers()
        request.wfile.write(DATA[5:])

    one, other = gateway(breaking_off(content.car, 500_000, CONTENT_TYPE)), gateway(wrong_part)
    with pytest.raises(StoreUnavailable):
        fetch(target, content.cid, one, other)
    assert not list(target.parent.iterdir())


def test_a_failed_download_goes_on_in_the_next_call(
    gateway: Start, content: Content, target: Path, tmp_path: Path
) -> None:
    partial = tmp_path / "partial"
    broken, whole = gateway(breaking_off(content.car, 500_000, CONTENT_TYPE)), gateway(ranged(DATA))
    with pytest.raises(StoreUnavailable):
        GatewayReader([broken.url]).fetch(content.cid, target, max_bytes=len(DATA), partial=partial)
    assert partial.read_bytes() == DATA[:262_144]
    GatewayReader([whole.url]).fetch(content.cid, target, max_bytes=len(DATA), partial=partial)
    assert target.read_bytes() == DATA
    assert whole.ranges == ["bytes=262144-"]
    assert not partial.exists()


def test_a_beginning_over_the_limit_stays_for_a_call_with_a_higher_limit(
    gateway: Start, target: Path, tmp_path: Path
) -> None:
    partial, content = tmp_path / "partial", content_of(tmp_path, b"a small file")
    partial.write_bytes(bytes(1000))
    source = gateway(status(404))
    with pytest.raises(ContentNotFound):
        GatewayReader([source.url]).fetch(content.cid, target, max_bytes=100, partial=partial)
    assert partial.read_bytes() == bytes(1000)
    source.answer = archive(content.car)
    GatewayReader([source.url]).fetch(content.cid, target, max_bytes=100, partial=partial)
    assert target.read_bytes() == b"a small file"
    assert not partial.exists()


def test_a_complete_beginning_is_not_downloaded_again(
    gateway: Start, content: Content, target: Path, tmp_path: Path
) -> None:
    partial, source = tmp_path / "partial", gateway(status(416))
    partial.write_bytes(DATA)
    GatewayReader([source.url]).fetch(content.cid, target, max_bytes=len(DATA), partial=partial)
    assert target.read_bytes() == DATA
    assert source.ranges == [f"bytes={len(DATA)}-"]


@pytest.mark.parametrize("form", ["car", "plain"])
def test_a_cancelled_download_goes_on_in_the_next_call(
    form: str, gateway: Start, content: Content, target: Path, tmp_path: Path
) -> None:
    partial, cancel, over = tmp_path / "partial", threading.Event(), threading.Event()

    def stalls(request: BaseHTTPRequestHandler) -> None:
        data, kind = (content.car, CONTENT_TYPE) if form == "car" else (DATA, "application/octet-stream")
        body(data[:327_680], kind, length=len(data))(request)
        over.wait(20)

    source = gateway(stalls)
    with ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(
            GatewayReader([source.url]).fetch, content.cid, target, max_bytes=len(DATA), partial=partial, cancel=cancel
        )
        try:
            until_written(target.parent, 262_144)
            cancel.set()
            with pytest.raises(Cancelled):
                fetching.result(20)
        finally:
            cancel.set()
            over.set()
    left = partial.read_bytes()
    assert left == DATA[: len(left)]
    assert not list(target.parent.iterdir())
    source.answer = ranged(DATA)
    GatewayReader([source.url]).fetch(content.cid, target, max_bytes=len(DATA), partial=partial)
    assert target.read_bytes() == DATA
    assert source.ranges == [None, f"bytes={262_144 if form == 'car' else 327_680}-"]
    assert list(target.parent.iterdir()) == [target]
    assert not partial.exists()


@pytest.mark.parametrize("answers", [False, True])
def test_a_cancelled_download_keeps_what_an_earlier_call_left(
    answers: bool, gateway: Start, content: Content, target: Path, tmp_path: Path
) -> None:
    partial, cancel, over = tmp_path / "partial", threading.Event(), threading.Event()
    partial.write_bytes(DATA[:300_000])

    def stalls(request: BaseHTTPRequestHandler) -> None:
        if answers:
            request.send_response(206)
            request.send_header("Content-Range", f"bytes 300000-{len(DATA) - 1}/{len(DATA)}")
            request.end_headers()
            request.wfile.flush()
        cancel.set()
        over.wait(20)

    try:
        with pytest.raises(Cancelled):
            GatewayReader([gateway(stalls).url]).fetch(
                content.cid, target, max_bytes=len(DATA), partial=partial, cancel=cancel
            )
    finally:
        over.set()
    assert partial.read_bytes() == DATA[:300_000]
    assert not list(target.parent.iterdir())


def test_a_complete_file_leaves_no_beginning_of_a_slower_download(
    gateway: Start, content: Content, target: Path, tmp_path: Path
) -> None:
    clock, asked, over, partial = ManualTime(), threading.Event(), threading.Event(), tmp_path / "partial"

    def slow(request: BaseHTTPRequestHandler) -> None:
        body(DATA[:100_000], length=len(DATA))(request)
        asked.set()
        over.wait(20)

    def let_time_pass() -> None:
        asked.wait(20)
        clock.now = 6.0

    one, other = gateway(slow), gateway(archive(content.car))
    helper = threading.Thread(target=let_time_pass)
    helper.start()
    try:
        reader = GatewayReader([one.url, other.url], timeout=30, monotonic=clock)
        assert reader.fetch(content.cid, target, max_bytes=len(DATA), partial=partial).gateway == other.url
    finally:
        over.set()
        helper.join()
    assert target.read_bytes() == DATA
    assert not partial.exists()


def until_written(folder: Path, size: int) -> None:
    """Wait until a file in a folder has at least this size."""
    deadline = time.monotonic() + 20
    while not any(path.stat().st_size >= size for path in folder.iterdir()):
        assert time.monotonic() < deadline, "the download wrote too little"
        time.sleep(0.005)


@pytest.mark.parametrize("left", [b"x" * 300_000, DATA, DATA + b"more"])
def test_whatever_an_earlier_call_left_the_file_is_right(
    left: bytes, gateway: Start, content: Content, target: Path, tmp_path: Path
) -> None:
    partial = tmp_path / "partial"
    partial.write_bytes(left)

    def answer(request: BaseHTTPRequestHandler) -> None:
        start = int((request.headers.get("Range") or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        (status(416) if start >= len(DATA) else ranged(DATA))(request)

    GatewayReader([gateway(answer).url]).fetch(content.cid, target, max_bytes=len(DATA) + 100, partial=partial)
    assert target.read_bytes() == DATA


class ManualTime:
    """A clock that only the test advances."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("sends", [b"", DATA[:1000]], ids=["silent", "trickling"])
def test_a_second_gateway_is_asked_while_the_first_is_slow(
    sends: bytes, gateway: Start, content: Content, target: Path
) -> None:
    time, done, asked = ManualTime(), threading.Event(), threading.Event()

    def slow(request: BaseHTTPRequestHandler) -> None:
        body(sends, length=len(DATA))(request)
        asked.set()
        done.wait(20)

    one, other = gateway(slow), gateway(archive(content.car))
    reader = GatewayReader([one.url, other.url], timeout=30, monotonic=time)

    def let_time_pass() -> None:
        asked.wait(20)
        time.now = 6.0

    helper = threading.Thread(target=let_time_pass)
    helper.start()
    try:
        assert reader.fetch(content.cid, target, max_bytes=len(DATA)).gateway == other.url
        assert target.read_bytes() == DATA
        assert list(target.parent.iterdir()) == [target], "the slower download must leave no file"
    finally:
        done.set()
        helper.join()
    # The next download must begin with the winner.
    assert reader.fetch(content.cid, target, max_bytes=len(DATA)).gateway == other.url
    assert len(one.requests) == 1


def test_a_slow_gateway_may_still_win(gateway: Start, content: Content, target: Path) -> None:
    time, second_asked, asked = ManualTime(), threading.Event(), threading.Event()

    def slow(request: BaseHTTPRequestHandler) -> None:
        asked.set()
        second_asked.wait(20)
        archive(content.car)(request)

    def worse(request: BaseHTTPRequestHandler) -> None:
        second_asked.set()
        status(404)(request)

    one, other = gateway(slow), gateway(worse)

    def let_time_pass() -> None:
        asked.wait(20)
        time.now = 6.0

    helper = threading.Thread(target=let_time_pass)
    helper.start()
    reader = GatewayReader([one.url, other.url], timeout=30, monotonic=time)
    assert reader.fetch(content.cid, target, max_bytes=len(DATA)).gateway == one.url
    helper.join()
    assert len(other.requests) == 1


def test_a_fast_gateway_is_left_alone(gateway: Start, content: Content, target: Path) -> None:
    one, other = gateway(archive(content.car)), gateway(archive(content.car))
    assert fetch(target, content.cid, one, other) == one.url
    assert other.requests == []
