"""The dashboard command: its port, its files, its end, and its error without the extra."""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from decloud_pl.cli import main
from tests.dashboard.conftest import running


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_listens_on_loopback_alone_and_ends_on_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path / "home", tmp_path) as (process, url):
        listening = [
            entry.laddr.ip
            for entry in psutil.Process(process.pid).net_connections("inet")
            if entry.status == psutil.CONN_LISTEN
        ]
        assert listening == ["127.0.0.1"]
        parts = urlsplit(url)
        browser = http.client.HTTPConnection("127.0.0.1", parts.port or 0, timeout=20)
        browser.request("GET", f"/?{parts.query}")
        answer = browser.getresponse()
        answer.read()
        opening = {
            "Cookie": (answer.getheader("Set-Cookie") or "").split(";")[0],
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        browser.request("GET", "/_nicegui_ws/socket.io/?EIO=4&transport=websocket", headers=opening)
        assert browser.getresponse().status == 101
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
        browser.close()
    assert (process.returncode, errors) == (0, "")
    assert list(tmp_path.iterdir()) == []  # it only reads


def test_slow_connections_are_few(tmp_path: Path) -> None:
    with running(tmp_path / "home", tmp_path) as (process, url), contextlib.ExitStack() as clients:
        port = urlsplit(url).port or 0
        for _ in range(100):
            slow = clients.enter_context(socket.create_connection(("127.0.0.1", port)))
            slow.settimeout(20)
            with contextlib.suppress(ConnectionError):
                slow.send(b"GET /metrics HTTP/1.1\r\nX-Slow: ")
        with contextlib.suppress(ConnectionError):  # the server cut the last connection, or dropped it earlier
            assert slow.recv(1) == b""
        connections = psutil.Process(process.pid).net_connections("inet")
        assert sum(entry.status == psutil.CONN_ESTABLISHED for entry in connections) == 64
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=20)[1] == ""


def test_a_taken_port_is_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [sys.executable, "-m", "decloud_pl.cli", "dashboard", "--port", str(taken.getsockname()[1])]
        done = subprocess.run(
            [*command, "--home", str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
        )
    assert done.returncode == 2
    assert "is in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "nicegui", None)
    assert main(["dashboard"]) == 3
    assert "pip install 'decloud_pl[dashboard]'" in capsys.readouterr().err
