"""The requests that the guard accepts and refuses, and the headers of every answer."""

from __future__ import annotations

import http.client
import json
import socket
from importlib.metadata import version
from urllib.parse import urljoin, urlsplit

import pytest

from tests.dashboard.conftest import Home

ASSETS = f"/_nicegui/{version('nicegui')}"
SOCKET = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"


def ask(url: str, path: str, *, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port or 0, timeout=20)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        body = "" if answer.status == http.client.SWITCHING_PROTOCOLS else answer.read().decode()
        return answer.status, {name.title(): value for name, value in answer.getheaders()}, body
    finally:
        connection.close()


def cookie(url: str) -> str:
    status, headers, _ = ask(url, f"/?{urlsplit(url).query}")
    assert status == 303
    return headers["Set-Cookie"].split(";")[0]


def test_the_token_becomes_a_strict_cookie_and_leaves_the_address(url: str) -> None:
    status, headers, _ = ask(url, f"/rounds?state=active&{urlsplit(url).query}")
    assert (status, headers["Location"]) == (303, "/rounds?state=active")
    assert "HttpOnly" in headers["Set-Cookie"]
    assert "SameSite=strict" in headers["Set-Cookie"]
    assert ask(url, "/", Cookie=cookie(url))[0] == 200


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/", "The address has no token"),
        ("/?token=wrong", "The token in the address is wrong"),
        (f"{ASSETS}/static/nicegui.js", "has no token"),
        ("/_nicegui_ws/socket.io/?EIO=4&transport=polling", "has no token"),
    ],
)
def test_without_the_token_there_is_a_sentence(url: str, path: str, words: str) -> None:
    status, headers, body = ask(url, path)
    assert status == 403
    assert words in body
    assert "Set-Cookie" not in headers


def test_another_host_name_is_refused(url: str) -> None:
    status, _, body = ask(url, "/", Host="rebound.example", Cookie=cookie(url))
    assert status == 403
    assert "Open the dashboard at 127.0.0.1" in body
    assert ask(url, "/metrics", Host="rebound.example")[0] == 403


@pytest.mark.parametrize("name", ["localhost:1", "127.0.0.1", "[::1]:9"])  # a tunnel may have another port
def test_this_machines_names_are_taken(url: str, name: str) -> None:
    assert ask(url, "/", Host=name, Cookie=cookie(url))[0] == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_another_origin_is_refused(url: str, origin: str) -> None:
    assert ask(url, "/", Origin=origin, Cookie=cookie(url))[0] == 403


def shake_hands(url: str, **headers: str) -> int:
    """Return the status of a WebSocket handshake: 101 if the guard accepts it."""
    opening = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    return ask(url, SOCKET, **opening, **headers)[0]


def test_the_websocket_is_guarded_as_pages_are(url: str) -> None:
    jar, own = cookie(url), f"http://{urlsplit(url).netloc}"
    assert shake_hands(url, Cookie=jar, Origin=own) == 101
    assert shake_hands(url, Origin=own) == 403
    assert shake_hands(url, Cookie=f"{jar}x", Origin=own) == 403
    assert shake_hands(url, Cookie=jar, Origin="https://evil.example") == 403
    assert shake_hands(url, Cookie=jar, Origin=own, Host="rebound.example") == 403


def test_every_answer_forbids_what_is_elsewhere(url: str) -> None:
    for path in ("/", f"{ASSETS}/static/nicegui.js", "/metrics", "/nowhere", "/?token=wrong"):
        headers = ask(url, path, Cookie=cookie(url))[1]
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "connect-src 'self'" in policy
        assert "http" not in policy
        assert "*" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_only_assets_are_kept_by_the_browser(url: str) -> None:
    assert ask(url, "/", Cookie=cookie(url))[1]["Cache-Control"] == "no-store"
    assert "immutable" in ask(url, f"{ASSETS}/static/nicegui.js", Cookie=cookie(url))[1]["Cache-Control"]


def test_nothing_can_be_changed(url: str) -> None:
    assert ask(url, "/rounds", method="POST", Cookie=cookie(url))[0] == 405


@pytest.mark.parametrize(
    "path",
    [
        "/rounds/99",
        "/rounds/x",
        "/rounds/" + "9" * 30,
        "/docs",
        "/openapi.json",
        f"{ASSETS}/static/../ui.py",
        f"{ASSETS}/static/%2e%2e/ui.py",
    ],
)
def test_what_is_not_there_is_a_page_too(url: str, path: str) -> None:
    status, _, body = ask(url, path, Cookie=cookie(url))
    assert status == 404
    assert "This page or round does not exist." in body
    assert "Traceback" not in body


@pytest.mark.parametrize(
    "path",
    [
        "/rounds?page=99999999999999999999&state=x&q=%25_%5C'",
        "/rounds?page=-3&sort=state;drop&order=x",
        "/skipped?sort=__class__&page=7",
        "/log?round=x&before=nan&kind=;drop",
        "/log?before=inf&q=%00",
        "/?owner=../../etc",
    ],
)
def test_odd_questions_get_ordinary_pages(url: str, path: str) -> None:
    status, _, body = ask(url, path, Cookie=cookie(url))
    assert status == 200
    assert "Traceback" not in body


def test_text_from_the_network_is_escaped(url: str, home: Home) -> None:
    body = ask(url, "/log?round=1", Cookie=cookie(url))[2]
    assert "the data set &lt;digits&gt; is empty" in body


def test_the_filters(url: str) -> None:
    jar = cookie(url)
    body = ask(url, "/rounds?state=earned", Cookie=jar)[2]
    assert ('"href":"/rounds/0"' in body, '"href":"/rounds/1"' in body) == (True, False)
    assert '"1 round"' in ask(url, "/rounds?q=empty", Cookie=jar)[2]
    log = ask(url, "/log?kind=trouble", Cookie=jar)[2]
    assert "did not answer" in log
    assert "is empty" not in log
    skipped = ask(url, "/skipped", Cookie=jar)[2]
    assert "its reward of … SOL is below your minimum of … SOL" in skipped
    assert "its reward of 0.01 SOL" in skipped


def test_metrics_and_health_need_no_token(url: str) -> None:
    assert 'decloud_rounds{state="claimed"} 1.0' in ask(url, "/metrics")[2]
    assert json.loads(ask(url, "/healthz")[2])["rpc_errors"] == 2


def test_a_damaged_journal_is_a_sentence(url: str, home: Home) -> None:
    jar = cookie(url)
    home.journal.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = home.path / "journal.sqlite"
    whole = path.read_bytes()
    path.write_bytes(b"not a database" * 1000)
    status, _, body = ask(url, "/", Cookie=jar)
    path.write_bytes(whole)
    assert status == 500
    assert "The journal" in body
    assert "Traceback" not in body


def asked(url: str, path: str, *headers: str, host: str | None = None) -> tuple[int, str]:
    """Send a raw request, because Python's clients refuse some of these, and return status and ``Location``."""
    parts = urlsplit(url)
    lines = [f"GET {path} HTTP/1.1", f"Host: {parts.netloc if host is None else host}", "Connection: close", *headers]
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as sock:
        sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        answer = b""
        while chunk := sock.recv(1 << 16):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Traceback" not in body
    located = [line for line in head.decode("latin-1").split("\r\n") if line.lower().startswith("location:")]
    return int(head.split()[1]), located[0].partition(":")[2].strip() if located else ""


@pytest.mark.parametrize(
    "path",
    [
        "//evil.test/",
        "///evil.test/",
        "/\\evil.test/",
        "/%5Cevil.test/",
        "/%2F%2Fevil.test/",
        "/%2F/evil.test/",
        "/%09/evil.test/",
        "/%0d%0aLocation:%20http://evil.test/",
        "http://evil.test/",
        "/;@evil.test",
        "//evil.test:80/%2e%2e",
    ],
)
def test_the_redirect_with_the_token_stays_here(url: str, path: str) -> None:
    status, target = asked(url, f"{path}?{urlsplit(url).query}")
    assert status == 303
    there = urlsplit(urljoin(url, target))
    assert there.netloc == urlsplit(url).netloc
    assert not target.startswith(("//", "/\\"))
    assert "token" not in target


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "http://a]b", "null", "\xff", "//", "http://evil.test"])
def test_an_origin_that_cannot_be_read_is_another_page(url: str, origin: str) -> None:
    for path, header in (("/", f"Cookie: {cookie(url)}"), ("/metrics", "Accept: */*")):
        assert asked(url, path, header, f"Origin: {origin}")[0] == 403


@pytest.mark.parametrize(
    "given",
    ["\xff\xfe=\xfe", "NAME=\xff\xfe", 'NAME="\\777\\400"', 'NAME="\\355\\240\\200"', 'a=b; ;;;=;"', "a" * 6000],
)
def test_a_cookie_that_cannot_be_read_is_none(url: str, given: str) -> None:
    name = cookie(url).partition("=")[0]
    assert asked(url, "/", f"Cookie: {given.replace('NAME', name)}")[0] == 403


@pytest.mark.parametrize("before", ['theme={"dark":true}', "a=b c", "flag", "a b=c", "=", 'a="', ""])
def test_a_cookie_of_another_program_hides_no_token(url: str, before: str) -> None:
    for header in (f"{before}; {cookie(url)}", f"{cookie(url)}; {before}"):
        assert asked(url, "/", f"Cookie: {header}")[0] == 200


@pytest.mark.parametrize("host", ["[", "[::1", "\xff\xfe", "a" * 6000, "evil.test", "127.0.0.1@evil.test"])
def test_a_host_that_cannot_be_read_is_not_this_machine(url: str, host: str) -> None:
    assert asked(url, "/", f"Cookie: {cookie(url)}", host=host)[0] == 403


@pytest.mark.parametrize("path", ["/" + "a" * 6000, "/%", "/%zz", "/%ff", "/" + "%" * 100, "/rounds/%ff", "/%00"])
def test_a_path_that_is_long_or_cannot_be_read_is_not_there(url: str, path: str) -> None:
    assert asked(url, path, f"Cookie: {cookie(url)}")[0] == 404
