"""Run the documentation's example workflows on a local network, as a user types them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.harness.pages import DOCS, blocks

COMMAND = (sys.executable, "-m", "decloud_pl.cli")


def documented(way: str) -> list[list[str]]:
    """Return the page's command lines for a workflow, each without the program's name."""
    lines = [line for block in blocks(DOCS / "how-to" / "choose-rounds.md") for line in block.text.splitlines()]
    (line,) = (line for line in lines if line.partition("#")[2].strip().startswith(way))
    commands = [command.split() for command in line.partition("#")[0].split(";")]
    assert all(command[0] == "decloud-trainer" for command in commands)
    return [command[1:] for command in commands]


@dataclass(frozen=True)
class Trainer:
    """A user whose config.json selects the network under test."""

    environ: dict[str, str]
    begin: Callable[..., Any]

    def run(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*COMMAND, *arguments], env=self.environ, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json").stdout)

    def start(self, *arguments: str) -> Any:
        return self.begin(["start", *arguments], DECLOUD_HOME=self.environ["DECLOUD_HOME"])

    def start_as_documented(self, way: str) -> Any:
        ((start, *arguments),) = documented(way)
        assert start == "start"
        return self.start(*arguments)


@pytest.fixture
def trainer(network: Any, start: Callable[..., Any], trainer_home: Path) -> Trainer:
    environ = {**os.environ, "DECLOUD_HOME": str(trainer_home), "OMP_NUM_THREADS": "1"}
    user = Trainer(environ, start)
    user.run(
        "config",
        *("--set", f"network.rpc_url={network.rpc_url}", "--set", f"network.gateways={network.gateway_url}"),
        *("--set", f"storage.path={network.home / 'store'}", "--set", f"keypair_path={trainer_home / 'id.json'}"),
        *("--set", "poll_interval=1", "--set", "max_batches=20", "--set", "trainer=cpu"),
    )
    return user


@pytest.mark.parametrize("network", [["--rounds", "1"]], indirect=True)
def test_passive_income(trainer: Trainer) -> None:
    daemon = trainer.start_as_documented("passive income")
    daemon.wait_for("claimed 0.882 SOL")
    daemon.wait_for("Audit: fair.")  # in the background, without a request
    assert daemon.end(signal.SIGINT) == 0
    history = trainer.json("history")
    assert [total["earned_lamports"] for total in history["networks"]] == [882_000_000]
    (entry,) = history["rounds"]
    assert entry["state"] == "claimed"
    status = trainer.json("status")
    assert status["rounds"][0]["submission"]["reward_claimed"] is True
    assert status["convention"]["read_as"] == "delta"
    assert status["rounds"][0]["journal"]["gain_low"] > 0


@pytest.mark.parametrize("network", [["--rounds", "1"]], indirect=True)
def test_selective_training(trainer: Trainer) -> None:
    """Rounds with other data sets or rewards are skipped with the reason."""
    daemon = trainer.start_as_documented("selective training")  # for other data sets than this network's
    daemon.wait_for("your settings exclude the data set custom")
    assert daemon.end(signal.SIGINT) == 0
    daemon = trainer.start("--dataset", "custom", "--min-reward", "1.5")
    daemon.wait_for("is below your minimum of 1.5 SOL")
    assert daemon.end(signal.SIGINT) == 0
    assert trainer.json("history")["rounds"] == []
    daemon = trainer.start("--dataset", "custom", "--min-reward", "0.5", "--max-reward", "2", "--no-auto-train")
    daemon.wait_for("joined.")
    assert daemon.end(signal.SIGINT) == 0


@pytest.mark.parametrize("network", [["--rounds", "1"]], indirect=True)
def test_quick_test(trainer: Trainer) -> None:
    """The preset earns on the local network. Its batches apply because config.json sets none."""
    trainer.run("config", "--unset", "max_batches")
    assert trainer.json("config", "--show", "preset=quick-test")["settings"]["max_batches"] == 50
    daemon = trainer.start_as_documented("quick test")
    # Its output is not a terminal, as with nohup.
    for line in ("Preset        quick-test", "Data sets     cifar10, mnist, digits", "Auto-claim    yes"):
        daemon.wait_for(line)
    daemon.wait_for("claimed 0.882 SOL")
    assert daemon.end(signal.SIGINT) == 0


@pytest.mark.parametrize("network", [["--rounds", "1"]], indirect=True)
def test_manual_mode(trainer: Trainer, network: Any) -> None:
    """`list`, `join`, `train` and `claim` each do only their own step, and each may be repeated."""
    while not (listed := trainer.json("list", "--status", "waiting-trainers")["rounds"]):
        pass
    (round_id,) = (str(entry["id"]) for entry in listed)
    assert (
        "has not joined round 0. Join it first: decloud-trainer join 0"
        in trainer.run("train", round_id, code=13).stderr
    )
    explained = trainer.json("explain", round_id)
    why = explained["convention"].pop("why")
    assert "its public software is meant to" in why
    assert explained["convention"] == {"read_as": "delta", "gradient_rate": 0.1, "written_as": "delta"}
    assert (explained["joins"], [check["name"] for check in explained["checks"] if not check["passed"]]) == (True, [])
    assert "the wallet holds 0 SOL" in trainer.run("explain", round_id).stdout
    poor = trainer.json("explain", round_id, "network.faucet=false")
    assert [check["name"] for check in poor["checks"] if not check["passed"]] == ["balance"]
    well = trainer.json("doctor")
    assert well["well"] is True
    verdicts = {finding["name"]: finding["verdict"] for finding in well["findings"]}
    checks = ("wallet", "rpc", "program", "clock", "websocket", "gateways", "storage", "disk", "data sets", "device")
    assert {name: verdicts[name] for name in checks} == dict.fromkeys(checks, "ok")
    listing, join, train, claim = documented("by hand")
    assert (listing, claim) == (["list"], ["claim", "--all"])
    assert "waiting-trainers" in trainer.run(*listing).stdout
    joined = trainer.json(*join)
    assert (joined["done"], joined["state"]) == ("now", "waiting")
    assert trainer.json("join", round_id)["done"] == "before"
    assert trainer.json("status", round_id)["submission"]["submitted"] is False
    trained = trainer.json(*train, "--epochs", "1", "--max-batches", "10")
    assert (trained["done"], trained["state"]) == ("now", "submitted")
    assert trained["accuracy_after"] > trained["accuracy_before"]
    while trainer.json("status", round_id)["round"]["status"] != "completed":
        pass
    claimed = trainer.json(*claim)
    assert [(entry["round_id"], entry["state"]) for entry in claimed["rounds"]] == [(0, "claimed")]
    assert trainer.json("claim", "--all") == {"rounds": []}
    assert trainer.json("claim", round_id)["done"] == "before"
    assert trainer.json("status", round_id)["submission"]["reward_claimed"] is True
    assert "Round 9 does not exist" in trainer.run("join", "9", code=13).stderr


@pytest.mark.parametrize("network", [["--rounds", "1"]], indirect=True)
def test_by_hand_while_the_daemon_runs(trainer: Trainer) -> None:
    daemon = trainer.start("--no-auto-train", "--no-auto-claim")
    daemon.wait_for("auto_train is off. To train, stop this daemon and run `decloud-trainer train 0`")
    refused = trainer.run("train", "0", code=11)
    assert "Another daemon (process" in refused.stderr
    assert "or stop the daemon to train by hand" in refused.stderr
    assert trainer.json("status")["daemon_process"] == daemon.process.pid
    assert daemon.end(signal.SIGINT) == 0
    # As a Hydra application: work on this round until only the claim is left, which the user makes by hand.
    one = trainer.begin(
        ["task=round", "round=0", "auto_claim=false"],
        command=(sys.executable, "-m", "decloud_pl"),
        DECLOUD_HOME=trainer.environ["DECLOUD_HOME"],
    )
    one.wait_for("Its reward of 0.882 SOL can be claimed. auto_claim is off. To claim, stop this daemon and run")
    assert one.process.wait(timeout=60) == 0
    assert [entry["state"] for entry in trainer.json("claim", "--all")["rounds"]] == ["claimed"]
    assert trainer.json("history")["rounds"][0]["state"] == "claimed"
