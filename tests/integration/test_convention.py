"""With validators that read updates as gradients, deltas are withheld and gradients earn a reward."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

COMMAND = (sys.executable, "-m", "decloud_pl.cli")
SENTENCE = (
    "nothing was submitted: as this network's validators read it (gradient, rate 0.1), the update ",
    "; read as delta, it would gain ",
    ": set update.convention=gradient",
)


@pytest.mark.parametrize("network", [["--rounds", "2", "--convention", "gradient"]], indirect=True)
def test_a_trainer_on_delta_is_stopped_and_earns_with_gradient(
    network: Any, start: Callable[..., Any], trainer_home: Path
) -> None:
    settings = [*network.overrides(trainer_home), "max_batches=20", "trainer=cpu", "network.convention=gradient"]
    delta = [*settings, "update.convention=delta"]

    def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "DECLOUD_HOME": str(trainer_home), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*COMMAND, *arguments], env=environ, capture_output=True, text=True, check=False, timeout=240
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    daemon = start(["start", *delta])
    daemon.wait_for("Updates are read as gradient, rate 0.1; written as delta.")
    said = daemon.wait_for("Round 0: withheld, ")
    assert all(part in said for part in SENTENCE), said
    assert daemon.end(signal.SIGKILL) == -signal.SIGKILL
    found = json.loads(run("status", "0", "--json", *delta).stdout)
    assert (found["journal"]["state"], found["journal"]["pinned_cid"]) == ("withheld", None)
    assert found["submission"]["submitted"] is False
    held = {path.name for path in (network.home / "store").rglob("*") if path.is_file()}

    # Without --force, the command trains and judges again; with --force, it publishes the same update.
    refused = run("train", "0", *delta, code=13).stderr
    assert all(part in refused for part in SENTENCE), refused
    assert "train 0 --force" in refused
    assert {path.name for path in (network.home / "store").rglob("*") if path.is_file()} == held
    withheld = json.loads(run("status", "0", "--json", *delta).stdout)["journal"]
    forced = run("train", "0", "--force", "--json", *delta)
    assert "training…" not in forced.stderr
    submitted = json.loads(forced.stdout)
    assert submitted["state"] == "submitted"
    assert (submitted["pinned_cid"], submitted["train_seconds"]) == (withheld["update_cid"], withheld["train_seconds"])

    earning = start(["start", *settings])
    earning.wait_for("Updates are read as gradient, rate 0.1.")
    earning.wait_for("Round 1: claimed 0.882 SOL")
    assert earning.end(signal.SIGINT) == 0
