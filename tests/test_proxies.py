"""Every client connects through the same proxy, trusts the same certificates and refuses the same variables.

The clients request ``rpc.example.test``. Only the proxy can reach it, because the test run does not resolve this name.
"""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from decloud_pl.chain.dialects import get_dialect
from decloud_pl.chain.pace import RealPace
from decloud_pl.chain.rpc import RpcClient
from decloud_pl.chain.watch import Subscribed, watch_events
from decloud_pl.data.entry import DataFolder, Entry
from decloud_pl.data.fetch.download import download_entry
from decloud_pl.errors import ConfigError, DecloudError
from decloud_pl.observers.notify import Address, Message
from decloud_pl.proxies import for_libraries, in_force, route_to
from decloud_pl.retry import Retry
from decloud_pl.store.fetch.gateway import GatewayReader
from decloud_pl.store.kubo import KuboStore
from decloud_pl.store.pinata import PinataCredentials, PinataStore
from tests.harness.forward_proxy import ForwardProxy
from tests.store.fakes.oracle import cid_of

TLS = Path(__file__).parent / "harness" / "tls"
CA, OTHER_CA = str(TLS / "ca.pem"), str(TLS / "other.pem")
FILE = b"a file"
GENESIS = "EtWTRABZaYq6iMfeYKouRu166VU2xqa1wcaWoxPkrZBG"
HTTP, HTTPS = "http://rpc.example.test", "https://rpc.example.test"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, *CERTIFICATES):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


async def answer(request: web.Request) -> web.StreamResponse:
    """Answer as each of the servers."""
    if request.headers.get("Upgrade", "").lower() == "websocket":
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str('{"jsonrpc": "2.0", "id": 1, "result": 1}')
        async for _ in socket:
            pass
        return socket
    if request.path in ("/ipfs/" + cid_of(FILE, 1), "/file"):
        return web.Response(body=FILE)
    if request.path == "/api/v0/version":
        return web.json_response({"Version": "0.30.0"})
    if request.path in ("/data/testAuthentication", "/hook"):
        return web.json_response({"message": "welcome"})
    return web.json_response({"jsonrpc": "2.0", "id": (await request.json())["id"], "result": GENESIS})


@dataclass
class Servers:
    """The ports of the same server on loopback, with and without TLS."""

    http: int = 0
    https: int = 0


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    found, loop = Servers(), asyncio.new_event_loop()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(TLS / "server.pem")

    async def start() -> web.AppRunner:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        for ssl_context in (None, context):
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl_context).start()
        found.http, found.https = (address[1] for address in runner.addresses)
        return runner

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner = asyncio.run_coroutine_threadsafe(start(), loop).result(20)
    yield found
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(20)
    loop.close()


@pytest.fixture
def proxy(servers: Servers) -> Iterator[ForwardProxy]:
    with ForwardProxy({80: servers.http, 443: servers.https}) as found:
        yield found


def by_rpc(url: str, folder: Path) -> None:
    async def ask() -> None:
        client = RpcClient(url, timeout=10)
        try:
            assert await client.check_same_network() == GENESIS
        finally:
            await client.aclose()

    asyncio.run(ask())


class OneTry(RealPace):
    async def sleep(self, seconds: float) -> None:
        raise TimeoutError


def by_websocket(url: str, folder: Path) -> None:
    async def listen() -> None:
        events = watch_events(url.replace("http", "ws", 1), get_dialect(), pace=OneTry())
        try:
            assert isinstance(await anext(events), Subscribed)
        finally:
            await events.aclose()  # type: ignore[attr-defined]

    asyncio.run(listen())


def by_gateway(url: str, folder: Path) -> None:
    GatewayReader([url], timeout=10).fetch(cid_of(FILE, 1), folder / "fetched", max_bytes=1 << 20)


def by_pinata(url: str, folder: Path) -> None:
    PinataStore(
        PinataCredentials(jwt="a-key"), api_url=url, upload_url=url, timeout=10, retry=Retry(attempts=1)
    ).check()


def by_kubo(url: str, folder: Path, host: str = "") -> None:
    scheme, _, place = url.partition("://")
    name, _, port = place.partition(":")
    default = {"http": "80", "https": "443"}[scheme]
    host = host or ("/ip4/127.0.0.1" if name == "127.0.0.1" else f"/dns/{name}")
    KuboStore(f"{host}/tcp/{port or default}/{scheme}", timeout=10, retry=Retry(attempts=1)).check()


def by_kubo_at_an_ip_address(url: str, folder: Path) -> None:
    by_kubo(url, folder, "" if "127.0.0.1" in url else "/ip4/192.0.2.7")


def by_download(url: str, folder: Path) -> None:
    downloads = [{"file": "file", "urls": [f"{url}/file"]}]
    about = {"name": "mine", "kind": "image", "num_classes": 2, "licence": "-", "size": "-", "folder": "Mine"}
    entry = Entry.from_node("mine", {"entry": {**about, "files": ["file"], "downloads": downloads}})
    download_entry(entry, DataFolder(folder), sleep=lambda _: None)


def by_notification(url: str, folder: Path) -> None:
    address = Address(url.replace("http", "json", 1) + "/hook", 10)
    if not asyncio.run(address.send(Message("info", "hello"))):
        raise TimeoutError


CLIENTS = [by_rpc, by_websocket, by_gateway, by_pinata, by_kubo, by_kubo_at_an_ip_address, by_download, by_notification]
Client = Callable[[str, Path], None]


def name_of(client: Client) -> str:
    return client.__name__.removeprefix("by_")


def with_marks(clients: Sequence[Client]) -> pytest.MarkDecorator:
    """Parametrize with clients. The case of Apprise is marked slow because Apprise takes seconds to start."""
    slow = {"notification": [pytest.mark.slow]}
    names = [name_of(client) for client in clients]
    cases = [
        pytest.param(client, id=name, marks=slow.get(name, [])) for client, name in zip(clients, names, strict=True)
    ]
    return pytest.mark.parametrize("client", cases)


every_client = with_marks(CLIENTS)


@with_marks([client for client in CLIENTS if client is not by_pinata])  # Pinata's client refuses http
def test_http_goes_through_the_proxy(
    client: Client, proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.address)  # a host and port without a scheme, as curl accepts it
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    client(HTTP, tmp_path)
    assert {host for _, host in proxy.seen} <= {"rpc.example.test:80", "192.0.2.7:80"}
    assert len(proxy.seen) == 1


@every_client
def test_https_goes_through_the_proxy_with_its_login(
    client: Client, proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("all_proxy", f"http://us%40er:p%3Aw%25@{proxy.address}/")
    monkeypatch.setenv("SSL_CERT_FILE", CA)
    client(HTTPS, tmp_path)
    assert proxy.seen in ([("CONNECT", "rpc.example.test:443")], [("CONNECT", "192.0.2.7:443")])
    assert proxy.logins == ["Basic " + base64.b64encode(b"us@er:p:w%").decode()]


@every_client
def test_the_proxy_itself_may_speak_tls(
    client: Client, servers: Servers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(TLS / "server.pem")
    monkeypatch.setenv("SSL_CERT_FILE", CA)
    with ForwardProxy({443: servers.https}, context) as proxy:
        monkeypatch.setenv("https_proxy", f"https://me:secret@{proxy.address}")
        client(HTTPS, tmp_path)
    assert [method for method, _ in proxy.seen] == ["CONNECT"]
    assert proxy.logins == ["Basic " + base64.b64encode(b"me:secret").decode()]


def with_cases(names: str, cases: Mapping[str, Sequence[object]], *, few: Collection[str]) -> pytest.MarkDecorator:
    """Parametrize with clients and cases. Apprise takes half a second to start, so it gets only a ``few`` cases."""
    marks = {by_notification: [pytest.mark.slow]}
    return pytest.mark.parametrize(
        f"client,{names}",
        [
            pytest.param(client, *case, id=f"{name}-{name_of(client)}", marks=marks.get(client, []))
            for client in CLIENTS
            for name, case in cases.items()
            if client is not by_notification or name in few
        ],
    )


CERTIFICATES_GIVEN = {
    "requests": ({"REQUESTS_CA_BUNDLE": CA}, True),
    "curl": ({"CURL_CA_BUNDLE": CA}, True),
    "first": ({"REQUESTS_CA_BUNDLE": CA, "SSL_CERT_FILE": OTHER_CA}, True),
    "first-wrong": ({"REQUESTS_CA_BUNDLE": OTHER_CA, "SSL_CERT_FILE": CA}, False),
    "wrong": ({"SSL_CERT_FILE": OTHER_CA}, False),
    "system": ({}, False),
}


@with_cases("certificates,is_trusted", CERTIFICATES_GIVEN, few=("first", "first-wrong"))
def test_certificates_count_on_this_machine_too(
    client: Client,
    certificates: dict[str, str],
    is_trusted: bool,
    proxy: ForwardProxy,
    servers: Servers,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy.address)  # the proxy must not be used for this machine
    for name, value in certificates.items():
        monkeypatch.setenv(name, value)
    url = f"https://127.0.0.1:{servers.https}"
    if is_trusted:
        client(url, tmp_path)
    else:
        with pytest.raises((DecloudError, TimeoutError)):
            client(url, tmp_path)
    assert proxy.seen == []


@with_cases("exempt", {one or "empty": (one,) for one in ("", "*", "elsewhere.test", "localhost")}, few=("empty",))
def test_this_machine_is_reached_directly(
    client: Client,
    exempt: str,
    proxy: ForwardProxy,
    servers: Servers,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.address)
    monkeypatch.setenv("NO_PROXY", exempt)
    client(f"http://127.0.0.1:{servers.http}", tmp_path)
    assert proxy.seen == []


MISSING = "/nowhere/certificates.pem"
WRONG = {
    "socks": ({"HTTPS_PROXY": "socks5h://me:SECRET@127.0.0.1:1080"}, "HTTPS_PROXY is a SOCKS proxy, which"),
    "all": ({"all_proxy": "socks4://127.0.0.1"}, "all_proxy is a SOCKS proxy, which"),
    "ftp": (
        {"https_proxy": "ftp://me:SECRET@x"},
        "https_proxy is not a valid proxy: it must begin with http:// or https:// (got ftp://)",
    ),
    "port": ({"HTTPS_PROXY": "http://me:SECRET@x:y"}, "HTTPS_PROXY is not a valid proxy: its port must be"),
    "nothing": ({"HTTPS_PROXY": "http://"}, "HTTPS_PROXY is not a valid proxy: the host after http://"),
    "blank": ({"HTTPS_PROXY": "my SECRET proxy"}, "HTTPS_PROXY is not a valid proxy: it contains a space"),
    "escape": ({"HTTPS_PROXY": "http://x\x1b[2J"}, "HTTPS_PROXY is not a valid proxy: it contains an invisible"),
    "bracket": ({"HTTPS_PROXY": "http://[::1"}, "HTTPS_PROXY is not a valid proxy: its host is invalid"),
    "missing": ({"SSL_CERT_FILE": MISSING}, f"SSL_CERT_FILE is {MISSING}, which cannot be read: No such file"),
    "second": ({"REQUESTS_CA_BUNDLE": CA, "SSL_CERT_FILE": MISSING}, f"SSL_CERT_FILE is {MISSING}, which cannot"),
    "no-pem": ({"REQUESTS_CA_BUNDLE": __file__}, f"REQUESTS_CA_BUNDLE is {__file__}, which contains no certificates"),
    "device": (
        {"CURL_CA_BUNDLE": "/dev/zero"},
        "CURL_CA_BUNDLE is /dev/zero, which contains no certificates in PEM format.",
    ),
}


@with_cases("given,words", WRONG, few=("socks", "missing"))
def test_a_wrong_variable_is_named_before_anything_is_sent(
    client: Client, given: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        client(HTTPS, tmp_path)
    assert caught.value.message.startswith(words)
    assert caught.value.message.endswith(".")
    assert "unset it" in caught.value.fix
    assert "SECRET" not in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_folder_of_certificates(servers: Servers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path))
    assert route_to(HTTPS).certificates == tmp_path
    assert for_libraries(os.environ) == {"REQUESTS_CA_BUNDLE": str(tmp_path), "SSL_CERT_DIR": str(tmp_path)}


@pytest.mark.parametrize(
    ("exempt", "url", "is_direct"),
    [
        ("", "https://example.test", False),
        ("*", "https://example.test", True),
        ("example.test", "https://example.test", True),
        ("example.test", "https://rpc.EXAMPLE.test.", True),
        (".example.test", "https://rpc.example.test", True),
        ("*.example.test", "https://rpc.example.test", True),
        ("example.test", "https://myexample.test", False),
        ("a, b  example.test", "https://example.test", True),
        ("example.test:443", "https://example.test", True),
        ("example.test:443", "wss://example.test:444", False),
        ("10.0.0.0/8", "https://10.1.2.3", True),
        ("10.0.0.0/8", "https://11.1.2.3", False),
        ("10.0.0.0/8", "https://10.example.test", False),
        ("192.0.2.7:8443", "https://192.0.2.7:8443", True),
        ("2001:db8::/32", "https://[2001:db8::1]", True),
        ("[2001:db8::1]:443", "https://[2001:db8::1]", True),
        ("::1", "https://[2001:db8::1]", False),
        ("[::1", "https://example.test", False),
        ("host:" + "9" * 5000, "https://host", False),
        ("\x1b\u202e", "https://example.test", False),
    ],
)
def test_what_needs_no_proxy(exempt: str, url: str, is_direct: bool) -> None:
    route = route_to(url, {"HTTPS_PROXY": "http://proxy.test", "NO_PROXY": exempt})
    assert (route.proxy is None) is is_direct


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "a.localhost", "127.0.0.1", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]"]
)
@pytest.mark.parametrize("scheme", ["http", "https", "ws", "wss"])
def test_no_variable_sends_this_machine_through_a_proxy(scheme: str, host: str) -> None:
    environ = {"ALL_PROXY": "socks5://127.0.0.1:1080", "no_proxy": ""}
    assert route_to(f"{scheme}://{host}:8080/x", environ).proxy is None


@pytest.mark.parametrize("host", ["localhost.example.test", "127.0.0.1.example.test", "128.0.0.1", "[::2]"])
def test_what_only_looks_like_this_machine(host: str) -> None:
    assert route_to(f"http://{host}", {"http_proxy": "proxy:1"}).proxy == "http://proxy:1"


def test_small_letters_come_first_and_may_be_empty() -> None:
    assert route_to(HTTP, {"http_proxy": "http://a", "HTTP_PROXY": "http://b"}).proxy == "http://a"
    assert route_to(HTTP, {"http_proxy": "", "HTTP_PROXY": "http://b"}).proxy is None
    assert route_to(HTTP, {"http_proxy": "", "ALL_PROXY": "http://c"}).proxy == "http://c"


def test_what_is_in_force_is_shown_without_a_login() -> None:
    environ = {"HTTP_PROXY": "http://me:SECRET@a:1", "ALL_PROXY": "http://b:2", "NO_PROXY": "x", "SSL_CERT_FILE": CA}
    assert in_force(environ) == ["HTTP_PROXY http://…@a:1", "ALL_PROXY http://b:2", "NO_PROXY x", f"SSL_CERT_FILE {CA}"]
    assert in_force({"NO_PROXY": "x"}) == []


def test_the_variables_for_libraries() -> None:
    environ = {"https_proxy": "http://a", "no_proxy": "x.test", "CURL_CA_BUNDLE": CA, "SSL_CERT_FILE": OTHER_CA}
    exempt = "x.test,localhost,127.0.0.1,127.0.0.0/8,::1"
    expected = {"NO_PROXY": exempt, "no_proxy": exempt, "REQUESTS_CA_BUNDLE": CA, "SSL_CERT_FILE": CA}
    assert for_libraries(environ) == expected
    assert for_libraries({**environ, **expected}) == expected
    assert for_libraries({"NO_PROXY": "x"}) == {}
