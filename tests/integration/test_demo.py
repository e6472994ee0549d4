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
    home = tmp_path / "demo"
    demo = start(["demo", "--home", str(home)])
    joined = demo.wait_for("joined.")
    demo.wait_for("training…")
    assert demo.end(signal.SIGINT) == 130
    demo.reader.join()
    output = "\n".join([*demo.seen, *(line for line in demo.lines.queue if line is not None)])
    assert "Traceback" not in output
    assert "To resume, run" in output
    assert nothing_works_in(home), processes_of(home)

    done = subprocess.run(
        [*DEMO, str(home), "--rounds", "1", "--json"], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    summary = json.loads(done.stdout)
    assert set(summary) == {"rounds", "balance_before", "balance_after", "seconds"}
    (entry,) = summary["rounds"]
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
    assert (entry["round_id"], entry["dataset"], entry["status"]) == (0, "custom", "completed")
    assert entry["accuracy_after"] - entry["accuracy_before"] > 0.1
    assert (entry["contribution_bps"], entry["reward_lamports"]) == (10_000, 882_000_000)
    assert entry["signatures"]["join"] in joined  # the round of the interrupted run: no other round was joined
    assert all(entry["signatures"].values())
    assert all(seconds is not None for seconds in entry["seconds"].values())
    # The first run paid the join's fee and deposit. The fees of the submission and the claim remain.
    fees = summary["balance_before"] + 882_000_000 - summary["balance_after"]
    assert 10_000 <= fees <= 210_000
    assert nothing_works_in(home), processes_of(home)


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
