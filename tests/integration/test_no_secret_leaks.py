"""Search for the bytes of the wallet's key and four logins in all files of a round, and in its processes.

The address of a gateway or an IPFS node cannot contain a login: see `tests/test_addresses.py`.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import base58
import psutil
import pytest
from solders.keypair import Keypair

from tests.store.fakes.pinata import FakePinata
from tests.store.fakes.server import Request, Server
from tests.test_children import UNPRIVILEGED

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJsb29rLWZvci1tZSJ9.bG9vay1mb3ItdGhpcy1qd3Q"
RPC_KEY, PASSWORD, MIRROR_LOGIN = "look-for-the-rpc-key-7c1d", "look-for-the-password-93ab", "look-for-the-login-55e0"
LOGINS = {
    "Pinata's JWT": JWT,
    "the RPC address's key": RPC_KEY,
    "the notification's password": PASSWORD,
    "the mirror's login": MIRROR_LOGIN,
}
COMMAND = (sys.executable, "-m", "decloud_pl.cli")


class Inbox(Server):
    """Accepts every notification."""

    def handle(self, request: Request) -> None:
        request.answer(200, {})


def written(secret: bytes) -> Iterator[bytes]:
    """Yield the forms in which a program may write a secret."""
    yield secret
    yield from (secret.hex().encode(), secret.hex().upper().encode())
    yield from (base64.b64encode(secret).rstrip(b"="), base64.urlsafe_b64encode(secret).rstrip(b"="))
    yield from (separator.join(map(str, secret)).encode() for separator in (",", ", ", "\n", ",\n  "))


def searched_for(key: Keypair) -> dict[str, set[bytes]]:
    """Return each secret in all its forms."""
    whole = bytes(key)
    forms = {"the key": {*written(whole), *written(whole[:32])}}
    forms["the key"] |= {base58.b58encode(part) for part in (whole, whole[:32])}
    for name, text in LOGINS.items():
        forms[name] = {*written(text.encode()), quote(text).encode(), base64.b64encode(f"user:{text}".encode())}
    return forms


def found_in(data: bytes, forms: dict[str, set[bytes]]) -> list[str]:
    return [name for name, ways in forms.items() if any(way in data for way in ways)]


def files_below(folder: Path) -> Iterator[Path]:
    for where, _, names in os.walk(folder):
        yield from (path for name in names if (path := Path(where, name)).is_file())


def leaks(forms: dict[str, set[bytes]], *folders: Path) -> dict[str, list[str]]:
    """Return the secrets in each file below the folders."""
    found = {}
    for path in (path for folder in folders for path in files_below(folder)):
        with contextlib.suppress(FileNotFoundError):  # a daemon at work
            found[str(path)] = found_in(path.read_bytes(), forms)
    return {path: names for path, names in found.items() if names}


def seen_of(process: psutil.Process) -> dict[str, bytes]:
    """Return the arguments and the environment of a process, and its limit on core files."""
    place = Path("/proc") / str(process.pid)
    return {name: (place / name).read_bytes() for name in ("cmdline", "environ", "limits")}


def core_limit(limits: bytes) -> bytes:
    (line,) = [line for line in limits.splitlines() if b"core file" in line]
    return line.split()[4]


def test_the_search_would_find_each_form(tmp_path: Path) -> None:
    key = Keypair()
    forms = searched_for(key)
    for name, ways in forms.items():
        for way in ways:
            (tmp_path / "file").write_bytes(b"before " + way + b" after")
            assert name in found_in((tmp_path / "file").read_bytes(), forms)
    assert json.dumps(list(bytes(key))).encode()[1:-1] in forms["the key"]
    assert str(key).encode() in forms["the key"]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux shows processes as files")
@pytest.mark.parametrize("network", [["--rounds", "1"]], indirect=True)
def test_a_round_leaves_no_secret(
    network: Any, start: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, home, temporary, work = Keypair(), tmp_path / "trainer", tmp_path / "temporary", tmp_path / "work"
    for folder in (home, temporary, work):
        folder.mkdir(mode=0o700)
    monkeypatch.chdir(work)
    forms = searched_for(key)
    rpc = urlsplit(network.rpc_url)
    with FakePinata() as pinata, Inbox() as inbox:
        secrets = {
            "DECLOUD_PRIVATE_KEY": str(key),
            "PINATA_JWT": JWT,
            "DECLOUD_NOTIFY_URLS": f"json://user:{PASSWORD}@{urlsplit(inbox.url).netloc}",
            "DECLOUD_NETWORK_RPC_URL": f"http://{rpc.netloc}/?api-key={RPC_KEY}",
            "DECLOUD_NETWORK_GATEWAYS": network.gateway_url,
            "DECLOUD_DATA_MIRROR": f"http://user:{MIRROR_LOGIN}@{urlsplit(inbox.url).netloc}",
        }
        settings = [
            "storage=pinata",
            f"storage.pinata_api_url={pinata.url}",
            f"storage.pinata_upload_url={pinata.url}",
            "storage.fallback=[embedded]",
            f"storage.path={network.home / 'store'}",
            "poll_interval=1",
            "budget=documented",
        ]
        own = {"HOME": str(tmp_path), "DECLOUD_HOME": str(home), "TMPDIR": str(temporary)}
        daemon = start(["start", *settings], **own, **secrets)
        daemon.wait_for("training…")
        daemon.wait_for("epoch")
        assert list(home.glob("rounds/*/0/config.yaml"))
        assert leaks(forms, tmp_path, network.home) == {}
        processes = [*psutil.Process(daemon.process.pid).children(recursive=True)]
        assert processes, "the training is not a child process"
        for process in processes:
            seen = seen_of(process)
            assert found_in(seen["cmdline"] + seen["environ"], forms) == [], process
            assert core_limit(seen["limits"]) == b"0"
        seen = seen_of(psutil.Process(daemon.process.pid))
        assert found_in(seen["cmdline"], forms) == []
        # The daemon's environment contains the user's variables, but only a superuser may read it.
        assert found_in(seen["environ"], forms) == list(forms)
        assert core_limit(seen["limits"]) == b"0"
        for name in ("environ", "mem"):
            look = f"open('/proc/{daemon.process.pid}/{name}', 'rb').read(1)"
            command = (sys.executable, "-c", UNPRIVILEGED, sys.executable, "-c", look)
            refused = subprocess.run(command, capture_output=True, text=True, check=False)
            assert "PermissionError" in refused.stderr
        daemon.wait_for("claimed 0.882 SOL")
        said = []
        for arguments in (["status", "--json"], ["history"], ["logs"], ["config", "--show", *settings]):
            ended = subprocess.run(
                [*COMMAND, *arguments], env={**os.environ, **own, **secrets}, capture_output=True, check=False
            )
            said.append(ended.stdout + ended.stderr)
        assert daemon.end(signal.SIGQUIT) == -signal.SIGQUIT  # which writes a core file if the limit allows it
        daemon.reader.join()
        said.append("\n".join([*daemon.seen, *(line for line in daemon.lines.queue if line is not None)]).encode())
        assert pinata.log
        assert inbox.log
    assert found_in(b"".join(said), forms) == []
    assert leaks(forms, tmp_path, network.home) == {}
    assert (home / "journal.sqlite").exists()
    assert not list(work.glob("core*"))
