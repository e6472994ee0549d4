"""Run a local network and daemons as users do: with child processes, real signals and real files."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest

from decloud_pl.chain.wallet import create_wallet

COMMAND = (sys.executable, "-m", "decloud_pl.cli")
PATIENCE = 120.0


@dataclass
class Child:
    """A command under test, its output line by line."""

    process: subprocess.Popen[str]
    lines: queue.Queue[str | None] = field(default_factory=queue.Queue)
    seen: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        assert self.process.stdout is not None
        self.reader = threading.Thread(target=self._read, args=(self.process.stdout,))
        self.reader.start()

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def wait_for(self, text: str) -> str:
        """Wait for the next line with ``text``; fail if the command ends or prints nothing for too long."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                line = self.lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                pytest.fail(f"{text!r} never came. Output:\n" + "\n".join(self.seen))
            self.seen.append(line)
            if text in line:
                return line

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=PATIENCE)


@dataclass(frozen=True)
class Network:
    """A running local network."""

    child: Child
    rpc_url: str
    ws_url: str
    gateway_url: str
    home: Path

    def overrides(self, home: Path) -> list[str]:
        """Return the settings of a daemon on this network."""
        return [
            "network=local",
            f"network.rpc_url={self.rpc_url}",
            f"network.gateways=[{self.gateway_url}]",
            f"storage.path={self.home / 'store'}",
            f"wallet.keypair_path={home / 'id.json'}",
            f"home={home}",
            "poll_interval=1",
            "budget=documented",  # a short training that does not depend on the machine's speed
            "audit=off",  # an audit starts two processes that import torch
        ]


Start = Callable[..., Child]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts commands, and stops those that still run after the test."""
    children: list[Child] = []

    def begin(
        arguments: Sequence[str], *, command: Sequence[str] = COMMAND, folder: Path | None = None, **environ: str
    ) -> Child:
        process = subprocess.Popen(
            [*command, *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "400", **environ},
        )
        children.append(Child(process))
        return children[-1]

    yield begin
    for child in children:
        if child.process.poll() is None:
            child.process.kill()
            child.process.wait()
        child.reader.join()


@pytest.fixture
def network(start: Start, tmp_path: Path, request: pytest.FixtureRequest) -> Network:
    """A network with agents; ``@pytest.mark.parametrize("network", [...], indirect=True)`` adds arguments."""
    extra: list[str] = getattr(request, "param", [])
    home = tmp_path / "network"
    child = start(["localnet", "--json", "--rpc-port", "0", "--gateway-port", "0", "--home", str(home), *extra])
    endpoints = json.loads(child.wait_for("rpc_url"))
    return Network(child, endpoints["rpc_url"], endpoints["ws_url"], endpoints["gateway_url"], home)


@pytest.fixture
def trainer_home(tmp_path: Path) -> Path:
    """A home folder with its own wallet."""
    home = tmp_path / "trainer"
    create_wallet(home / "id.json")
    return home
