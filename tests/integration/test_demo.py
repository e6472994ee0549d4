"""Run the demo as a user does: interrupt it, start it again, and parse its output."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from decloud_pl.chain.wallet import load_wallet
from decloud_pl.cli import main
from decloud_pl.localnet.network import LocalNetwork
from tests.harness.books import check_books, reward_of

DEMO = (sys.executable, "-m", "decloud_pl.cli", "demo", "--home")


def processes_of(home: Path) -> list[list[str]]:
    """Return the command lines of all processes that still use a home folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if any(str(home) in word for word in line):
            found.append(line)
    return found


def nothing_works_in(home: Path) -> bool:
    """Wait for all processes of a home folder to end. Grandchildren end a little later than their parents."""
    deadline = time.monotonic() + 30
    while processes_of(home):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_ctrl_c_in_mid_training_then_once_more(start: Callable[..., Any], tmp_path: Path) -> None:
    """The account of every lamport is that of v1.1; test_batch_norm.py has v1.0, and test_workflows.py has v1.2."""
    home = tmp_path / "demo"
    demo = start(["demo", "--home", str(home), "--dialect", "v1.1"])
    joined = demo.wait_for("joined.")
    demo.wait_for("training…")
    assert demo.end(signal.SIGINT) == 130
    demo.reader.join()
    output = "\n".join([*demo.seen, *(line for line in demo.lines.queue if line is not None)])
    assert "Traceback" not in output
    assert "To resume, run" in output
    assert nothing_works_in(home), processes_of(home)

    done = subprocess.run(
        [*DEMO, str(home), "--rounds", "2", "--json"], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    summary = json.loads(done.stdout)
    assert set(summary) == {"rounds", "balance_before", "balance_after", "seconds"}
    assert reward_of("v1.1") == 882_000_000
    for number, entry in enumerate(summary["rounds"]):
        assert set(entry) == {
            "round_id",
            "dataset",
            "status",
            "accuracy_before",
            "accuracy_after",
            "contribution_bps",
            "reward_lamports",
            "signatures",
            "seconds",
        }
        assert (entry["round_id"], entry["dataset"], entry["status"]) == (number, "custom", "completed")
        assert entry["accuracy_after"] - entry["accuracy_before"] > 0.1
        assert (entry["contribution_bps"], entry["reward_lamports"]) == (10_000, 882_000_000)
        assert all(entry["signatures"].values())
        assert all(seconds is not None for seconds in entry["seconds"].values())
    first, _ = summary["rounds"]
    assert first["signatures"]["join"] in joined  # the round of the interrupted run: no other round was joined
    assert nothing_works_in(home), processes_of(home)
    assert summary["balance_before"] < 10**9  # the first run got 1 SOL and paid the first join's fee and deposit
    trainer = load_wallet(keypair_path=home / "trainer.json", environ={}).address
    costs = 10**9 + 2 * 882_000_000 - summary["balance_after"]
    check_books(home / "localnet", "v1.1", trainer=trainer, rounds=2, costs=costs)


def test_the_end_of_the_network_is_the_end_of_the_demo(start: Callable[..., Any], tmp_path: Path) -> None:
    home = tmp_path / "demo"
    demo = start(["demo", "--home", str(home)])
    demo.wait_for("Looking for rounds")
    (network,) = (child for child in psutil.Process(demo.process.pid).children() if "localnet" in child.cmdline())
    network.kill()
    said = demo.wait_for("The local network stopped.")
    assert said.startswith("decloud-trainer: ")
    assert demo.process.wait(timeout=60) == 12
    assert nothing_works_in(home), processes_of(home)


def test_a_home_of_another_dialect_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "demo"
    with LocalNetwork(home / "localnet", agents=None, dialect="v1.1"):
        pass
    assert main(["demo", "--home", str(home), "--dialect", "v1.2"]) == 12
    said = capsys.readouterr().err
    assert "runs v1.1, not v1.2. Start it with --dialect v1.1, or choose another folder with --home." in said
    assert "Traceback" not in said
