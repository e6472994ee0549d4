"""Fixtures that run the real command or client on an input, in a separate process with limits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from decloud_pl.cli.exit_codes import EXIT_UNWELL
from decloud_pl.errors import DecloudError

ROOT = Path(__file__).parents[2]
MOST_SECONDS = 10.0
MOST_MEGABYTES = 500.0
# The process imports these modules once, which would take a second in each fork.
IMPORTED = (
    "requests",
    "urllib3",
    "ipfshttpclient",
    "solana.rpc.async_api",
    "solana.rpc.models",
    "solana.exceptions",
    "solders.transaction_status",
    "hydra",
    "omegaconf",
    "anyio._backends._asyncio",
    "filelock",
    "httpcore2",
    "multiaddr.codecs.ip4",
    "netaddr",
    "decloud_pl.config",
    "decloud_pl.cli.config.session",
    "decloud_pl.cli.ui.live",
    "decloud_pl.cli.ui.output",
    "decloud_pl.cli.commands.list",
    "decloud_pl.cli.commands.start",
    "decloud_pl.cli.commands.storage",
    "decloud_pl.cli.commands.wallet",
    "decloud_pl.cli.task",
    "decloud_pl.daemon.assemble",
    "decloud_pl.journal.track_record",
    "decloud_pl.rounds.connect",
    "decloud_pl.rounds.stores",
    "decloud_pl.rounds.wallets",
    "decloud_pl.chain.client",
    "decloud_pl.chain.answers",
    "decloud_pl.data.fetch.download",
    "decloud_pl.store.fetch.gateway",
    "decloud_pl.store.kubo",
    "decloud_pl.store.kubo_session",
    "decloud_pl.store.pinata",
    "decloud_pl.store.publish",
)


def _codes(kind: type[DecloudError]) -> set[int]:
    return {kind.exit_code}.union(*map(_codes, kind.__subclasses__()))


OURS = _codes(DecloudError) - {1} | {EXIT_UNWELL}
"""Exit codes of expected errors; 1 is an internal error."""


@dataclass(frozen=True)
class Ended:
    """How the program ended on an input."""

    code: int
    out: str
    err: str
    seconds: float
    megabytes: float
    cpu: float
    steps: int = 0
    """How many lines about its progress the program may print before the error."""

    def in_one_sentence(self, words: str = "", code: int | None = None) -> str:
        """Return the error, which must be one line that contains ``words``, within the limits of time and memory."""
        assert self.code != -9, f"it did not end within {MOST_SECONDS:g} s\n{self.err[-3000:]}"
        assert "Traceback" not in self.out + self.err, self.err[-5000:]
        assert self.code in OURS, (self.code, self.out[-500:], self.err[-3000:])
        *steps, said = self.err.rstrip("\n").split("\n")
        assert all(line.isprintable() for line in (*steps, said)), self.err
        assert not any(line.startswith("decloud-trainer: ") for line in steps), steps
        assert len(steps) <= self.steps, steps
        assert len(said) < 9000  # 4,000 characters of a stranger may each be written as four
        assert words in said, said
        assert code in (None, self.code), (self.code, said)
        assert self.seconds < MOST_SECONDS
        assert self.megabytes < MOST_MEGABYTES, f"{self.megabytes:.0f} MB"
        return said


class Program:
    """The process that forks."""

    def __init__(self, modules: tuple[str, ...]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile.program", *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "COLUMNS": "200"},
        )

    def meets(self, folder: Path, module: str, call: str, arguments: tuple[str, ...], environment: Any) -> Ended:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {
            "folder": str(folder),
            "module": module,
            "call": call,
            "arguments": arguments,
            "environment": environment,
        }
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        found = json.loads(self._process.stdout.readline())
        out, err = ((folder / name).read_text(errors="replace") for name in ("out", "err"))
        return Ended(out=out, err=err, **found)

    def close(self) -> None:
        self._process.communicate()


Meet = Callable[..., Ended]


@pytest.fixture(scope="session")
def program(_session_home: None) -> Iterator[Program]:
    started = Program(IMPORTED)
    yield started
    started.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The program's home folder."""
    folder = tmp_path / "trainer"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def run(program: Program, tmp_path: Path, home: Path) -> Meet:
    """Run a command, with environment variables by name."""

    def command(*arguments: str, **environment: str) -> Ended:
        own = {"HOME": str(tmp_path), "DECLOUD_HOME": str(home), **environment}
        return program.meets(tmp_path, "tests.hostile.program", "command", arguments, own)

    return command


@pytest.fixture
def call(program: Program, tmp_path: Path) -> Meet:
    """Call a function of `tests.hostile.clients`."""

    def client(name: str, *arguments: str, **environment: str) -> Ended:
        return program.meets(tmp_path, "tests.hostile.clients", name, arguments, environment)

    return client
