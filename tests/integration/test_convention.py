"""With validators that read updates as gradients, deltas are withheld and gradients earn a reward."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli import conftest as cli

home, run = cli.home, cli.run

SENTENCE = (
    "nothing was submitted: as this network's validators read it (gradient, rate 0.1), the update ",
    "; read as delta, it would gain ",
    ": set update.convention=gradient",
)


@pytest.mark.parametrize("network", [["--rounds", "2", "--convention", "gradient"]], indirect=True)
def test_a_trainer_on_delta_is_stopped_and_earns_with_gradient(
    network: Any, start: Callable[..., Any], trainer_home: Path, run: Any
) -> None:
    settings = [*network.overrides(trainer_home), "max_batches=20", "trainer=cpu", "network.convention=gradient"]
    delta = [*settings, "update.convention=delta"]

    def ran(*arguments: str, code: int = 0) -> Any:
        done = run(*arguments, *delta)
        assert done.code == code, done.out + done.err
        assert "Traceback" not in done.err
        return done

    daemon = start(["start", *delta])
    daemon.wait_for("Updates are read as gradient, rate 0.1; written as delta.")
    said = daemon.wait_for("Round 0: withheld, ")
    assert all(part in said for part in SENTENCE), said
    assert daemon.end(signal.SIGKILL) == -signal.SIGKILL
    found = ran("status", "0", "--json").document
    assert (found["journal"]["state"], found["journal"]["pinned_cid"]) == ("withheld", None)
    assert found["submission"]["submitted"] is False
    held = {path.name for path in (network.home / "store").rglob("*") if path.is_file()}

    # Without --force, the command trains and judges again; with --force, it publishes the same update.
    refused = ran("train", "0", code=13).err
    assert all(part in refused for part in SENTENCE), refused
    assert "train 0 --force" in refused
    assert {path.name for path in (network.home / "store").rglob("*") if path.is_file()} == held
    withheld = ran("status", "0", "--json").document["journal"]
    forced = ran("train", "0", "--force", "--json")
    assert "training…" not in forced.err
    submitted = forced.document
    assert submitted["state"] == "submitted"
    assert (submitted["pinned_cid"], submitted["train_seconds"]) == (withheld["update_cid"], withheld["train_seconds"])

    earning = start(["start", *settings])
    earning.wait_for("Updates are read as gradient, rate 0.1.")
    earning.wait_for("Round 1: claimed 0.882 SOL")
    assert earning.end(signal.SIGINT) == 0
