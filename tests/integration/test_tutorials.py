"""Run the tutorials as written: create their files, run their commands in order, and compare the output."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.harness.pages import DOCS, INTERRUPT, LEFT_OUT, ROOT, Block, blocks, pattern
from tests.harness.ports import free_port

METRICS_PORT = "9100"


@dataclass
class Reader:
    """A reader who follows a page. The network uses other ports than the page, because those may be in use."""

    folder: Path
    begin: Callable[..., Any]
    environ: dict[str, str] = field(default_factory=dict)
    metrics_port: str = ""

    def __post_init__(self) -> None:
        rpc, gateway, self.metrics_port = free_port(), free_port(), str(free_port())
        programs = self.folder / "bin"
        programs.mkdir(parents=True)
        trainer = f'exec "{sys.executable}" -m decloud_pl.cli'
        ports = f"--rpc-port {rpc} --gateway-port {gateway}"
        _script(
            programs / "decloud-trainer",
            f'if [ "$1" = localnet ]; then shift; {trainer} localnet {ports} "$@"; fi\n{trainer} "$@"',
        )
        _script(programs / "python", f'exec "{sys.executable}" "$@"')
        self.environ |= {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "DECLOUD_NETWORK_RPC_URL": f"http://127.0.0.1:{rpc}",
            "DECLOUD_NETWORK_GATEWAYS": f"http://127.0.0.1:{gateway}",
        }

    def follow(self, page: str) -> None:
        """Write the files of the page, and run its commands."""
        for block in blocks(DOCS / page):
            if block.language == "console":
                self.type(block)
            elif block.caption:
                path = self.folder / Path(block.caption).expanduser()
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text, encoding="utf-8")

    def type(self, block: Block) -> None:
        stays = block.caption.startswith("Terminal 1") or "keeps running" in block.caption
        for command, shown in block.commands():
            if assigned := re.fullmatch(r"export (\w+)=(.*)", command):
                self.environ[assigned[1]] = self.shell(f'printf %s "{assigned[2]}"')
                continue
            child = self.begin([command.replace(METRICS_PORT, self.metrics_port)], **self.how())
            self.watch(child, shown)
            if not stays:
                assert child.process.wait(timeout=120) == 0, "\n".join(child.seen)

    def watch(self, child: Any, shown: list[str]) -> None:
        """Compare the output of a command with the page."""
        skipping = False
        for line in shown:
            if line == INTERRUPT:
                child.process.send_signal(signal.SIGINT)
                skipping = True
            elif line == LEFT_OUT:
                skipping = True
            else:
                self.expect(child, line, skipping=skipping)
                skipping = False

    def expect(self, child: Any, line: str, *, skipping: bool) -> None:
        """Wait for a line of the page: the next line of the output, or with ``skipping`` any later line."""
        wanted = pattern(line)
        while True:
            try:
                said = child.wait_for("")
            except pytest.fail.Exception as ended:
                pytest.fail(f"The page shows {line!r}, which was not printed.\n{ended}")
            if wanted.fullmatch(said):
                return
            assert skipping, f"The page shows {line!r}, printed was {said!r}."

    def how(self) -> dict[str, Any]:
        return {"command": ("bash", "-c"), "folder": self.folder, **self.environ}

    def shell(self, command: str) -> str:
        environ = {**os.environ, **self.environ}
        return subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=environ, capture_output=True, text=True, check=True
        ).stdout


def _script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def reader(start: Callable[..., Any], tmp_path: Path) -> Reader:
    return Reader(tmp_path / "reader", start)


def test_first_reward(reader: Reader) -> None:
    reader.follow("tutorials/first-reward.md")


def test_own_code(reader: Reader) -> None:
    reader.follow("tutorials/own-code.md")
    journal = json.loads(reader.shell("decloud-trainer status 0 --json"))["journal"]
    assert journal["accuracy_after"] > journal["accuracy_before"] + 0.5


def test_sweep(reader: Reader) -> None:
    reader.follow("tutorials/sweep.md")
    assert (reader.folder / "sweep.png").stat().st_size > 0


def test_weeks(reader: Reader) -> None:
    """The page shows the service's unit without installing it. The unit's command exists."""
    scripts, programs = reader.folder / "scripts", reader.folder / ".venv" / "bin"
    scripts.mkdir()
    programs.mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "install-service", scripts)
    (programs / "decloud-trainer").symlink_to(reader.folder / "bin" / "decloud-trainer")
    reader.follow("tutorials/weeks.md")
