"""systemd gets messages from the daemon, and from no other process."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from decloud_pl.observers.systemd import Notifier, keep_alive


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(path)
        bound.settimeout(10)
        yield bound, path


async def test_ready_alive_stopping(manager: tuple[socket.socket, str]) -> None:
    bound, path = manager
    async with keep_alive({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "20000", "WATCHDOG_PID": str(os.getpid())}):
        assert bound.recv(100) == b"READY=1"
        for _ in range(3):
            assert await asyncio.to_thread(bound.recv, 100) == b"WATCHDOG=1"
    rest: list[bytes] = []
    bound.settimeout(0)
    while not rest or rest[-1] != b"STOPPING=1":
        rest.append(bound.recv(100))


async def test_no_watchdog_no_food(manager: tuple[socket.socket, str]) -> None:
    bound, path = manager
    async with keep_alive({"NOTIFY_SOCKET": path}):
        pass
    assert [bound.recv(100), bound.recv(100)] == [b"READY=1", b"STOPPING=1"]


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "120000000"}, 120.0),
        ({"WATCHDOG_USEC": "120000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({}, None),
    ],
)
def test_how_often(environ: dict[str, str], seconds: float | None) -> None:
    assert Notifier(environ).watchdog_seconds == seconds


def test_a_manager_that_is_gone_is_no_trouble(tmp_path: Path) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).send("READY=1")


def test_the_abstract_name_space() -> None:
    name = f"\0decloud-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(name)
        bound.settimeout(10)
        Notifier({"NOTIFY_SOCKET": "@" + name[1:]}).send("READY=1")
        assert bound.recv(100) == b"READY=1"
