"""Run the documentation's example workflows on a local network, as a user types them."""

from __future__ import annotations

import csv
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from decloud_pl.chain.wallet import load_wallet
from tests.cli import conftest as cli
from tests.harness.books import check_books
from tests.harness.pages import DOCS, blocks

home, run = cli.home, cli.run


def documented(way: str) -> list[list[str]]:
    """Return the page's command lines for a workflow, each without the program's name."""
    lines = [line for block in blocks(DOCS / "how-to" / "choose-rounds.md") for line in block.text.splitlines()]
    (line,) = (line for line in lines if line.partition("#")[2].strip().startswith(way))
    commands = [command.split() for command in line.partition("#")[0].split(";")]
    assert all(command[0] == "decloud-trainer" for command in commands)
    return [command[1:] for command in commands]


@dataclass(frozen=True)
class Trainer:
    """A user whose config.json selects the network under test. Short commands run in this process."""

    home: Path
    command: Callable[..., Any]
    begin: Callable[..., Any]

    def run(self, *arguments: str, code: int = 0) -> Any:
        done = self.command(*arguments)
        assert done.code == code, done.out + done.err
        assert "Traceback" not in done.err
        return done

    def json(self, *arguments: str) -> Any:
        return self.run(*arguments, "--json").document

    def start(self, *arguments: str) -> Any:
        return self.begin(["start", *arguments], DECLOUD_HOME=str(self.home))

    def start_as_documented(self, way: str) -> Any:
        ((start, *arguments),) = documented(way)
        assert start == "start"
        return self.start(*arguments)


@pytest.fixture
def trainer(network: Any, start: Callable[..., Any], trainer_home: Path, run: Any) -> Trainer:
    user = Trainer(trainer_home, run, start)
    user.run(
        "config",
        *("--set", f"network.rpc_url={network.rpc_url}", "--set", f"network.gateways={network.gateway_url}"),
        *("--set", f"storage.path={network.home / 'store'}", "--set", f"keypair_path={trainer_home / 'id.json'}"),
        *("--set", "poll_interval=1", "--set", "trainer=cpu"),
    )
    return user


@pytest.mark.parametrize("network", [["--rounds", "2"]], indirect=True)
def test_quick_test_and_passive_income(trainer: Trainer, network: Any) -> None:
    # The preset earns on the local network. Its batches apply because config.json sets none.
    assert trainer.json("config", "--show", "preset=quick-test")["settings"]["max_batches"] == 50
    daemon = trainer.start_as_documented("quick test")
    # Its output is not a terminal, as with nohup.
    for line in ("Preset        quick-test", "Data sets     cifar10, mnist, digits", "Auto-claim    yes"):
        daemon.wait_for(line)
    daemon.wait_for("Round 0: claimed 0.882 SOL")
    assert daemon.end(signal.SIGINT) == 0

    trainer.run("config", "--set", "max_batches=20")
    daemon = trainer.start_as_documented("passive income")
    daemon.wait_for("Round 1: claimed 0.882 SOL")
    daemon.wait_for("Round 1: Audit: fair.")  # in the background, without a request
    assert daemon.end(signal.SIGINT) == 0
    history = trainer.json("history")
    assert [total["earned_lamports"] for total in history["networks"]] == [2 * 882_000_000]
    assert [entry["state"] for entry in history["rounds"]] == ["claimed", "claimed"]
    status = trainer.json("status")
    assert status["convention"]["read_as"] == "delta"
    assert [entry["submission"]["reward_claimed"] for entry in status["rounds"]] == [True, True]
    assert all(entry["journal"]["gain_low"] > 0 for entry in status["rounds"])

    assert network.child.end(signal.SIGINT) == 0
    wallet = load_wallet(keypair_path=trainer.home / "id.json", environ={})
    costs = sum(int(row["cost_lamports"]) for row in csv.DictReader(trainer.run("history", "--csv").out.splitlines()))
    check_books(network.home, "v1.2", trainer=wallet.address, rounds=2, costs=costs)


@pytest.mark.parametrize("network", [["--rounds", "2"]], indirect=True)
def test_selective_training_and_work_by_hand(trainer: Trainer, network: Any) -> None:
    network.child.wait_for("Round 0: claimed by its validator, open for trainers")
    _skip_round_0(trainer)
    _work_by_hand_on_round_0(trainer, network)
    network.child.wait_for("Round 1: claimed by its validator, open for trainers")
    _work_by_hand_while_the_daemon_runs_on_round_1(trainer)


def _skip_round_0(trainer: Trainer) -> None:
    """Rounds with other data sets or rewards are skipped with the reason."""
    daemon = trainer.start_as_documented("selective training")  # for other data sets than this network's
    daemon.wait_for("your settings exclude the data set custom")
    assert daemon.end(signal.SIGINT) == 0
    daemon = trainer.start("--dataset", "custom", "--min-reward", "1.5")
    daemon.wait_for("is below your minimum of 1.5 SOL")
    assert daemon.end(signal.SIGINT) == 0
    assert trainer.json("history")["rounds"] == []


def _work_by_hand_on_round_0(trainer: Trainer, network: Any) -> None:
    """`list`, `join`, `train` and `claim` each do only their own step, and each may be repeated."""
    (entry,) = trainer.json("list", "--status", "waiting-trainers")["rounds"]
    assert entry["id"] == 0
    unjoined = trainer.run("train", "0", code=13).err
    assert "has not joined round 0. Join it first: decloud-trainer join 0" in unjoined
    explained = trainer.json("explain", "0")
    why = explained["convention"].pop("why")
    assert "its public software is meant to" in why
    assert explained["convention"] == {"read_as": "delta", "gradient_rate": 0.1, "written_as": "delta"}
    assert (explained["joins"], [check["name"] for check in explained["checks"] if not check["passed"]]) == (True, [])
    assert "the wallet holds 0 SOL" in trainer.run("explain", "0").out
    poor = trainer.json("explain", "0", "network.faucet=false")
    assert [check["name"] for check in poor["checks"] if not check["passed"]] == ["balance"]
    well = trainer.json("doctor")
    assert well["well"] is True
    verdicts = {finding["name"]: finding["verdict"] for finding in well["findings"]}
    checks = ("wallet", "rpc", "program", "clock", "websocket", "gateways", "storage", "disk", "data sets", "device")
    assert {name: verdicts[name] for name in checks} == dict.fromkeys(checks, "ok")
    listing, join, train, claim = documented("by hand")
    assert (listing, claim) == (["list"], ["claim", "--all"])
    assert "waiting-trainers" in trainer.run(*listing).out
    joined = trainer.json(*join)
    assert (joined["done"], joined["state"]) == ("now", "waiting")
    assert trainer.json("join", "0")["done"] == "before"
    assert trainer.json("status", "0")["submission"]["submitted"] is False
    trained = trainer.json(*train, "--epochs", "1", "--max-batches", "10")
    assert (trained["done"], trained["state"]) == ("now", "submitted")
    assert trained["accuracy_after"] > trained["accuracy_before"]
    network.child.wait_for("Round 0: scored")
    assert trainer.json("status", "0")["round"]["status"] == "completed"
    claimed = trainer.json(*claim)
    assert [(entry["round_id"], entry["state"]) for entry in claimed["rounds"]] == [(0, "claimed")]
    assert trainer.json("claim", "--all") == {"rounds": []}
    assert trainer.json("claim", "0")["done"] == "before"
    assert trainer.json("status", "0")["submission"]["reward_claimed"] is True
    assert "Round 9 does not exist" in trainer.run("join", "9", code=13).err


def _work_by_hand_while_the_daemon_runs_on_round_1(trainer: Trainer) -> None:
    chosen = ("--dataset", "custom", "--min-reward", "0.5", "--max-reward", "2")
    daemon = trainer.start(*chosen, "--no-auto-train", "--no-auto-claim")
    daemon.wait_for("Round 1: joined.")
    daemon.wait_for("auto_train is off. To train, stop this daemon and run `decloud-trainer train 1`")
    refused = trainer.run("train", "1", code=11).err
    assert "Another daemon (process" in refused
    assert "or stop the daemon to train by hand" in refused
    assert trainer.json("status")["daemon_process"] == daemon.process.pid
    assert daemon.end(signal.SIGINT) == 0
    # As a Hydra application: work on this round until only the claim is left, which the user makes by hand.
    one = trainer.begin(
        ["task=round", "round=1", "auto_claim=false", "max_batches=20"],
        command=(sys.executable, "-m", "decloud_pl"),
        DECLOUD_HOME=str(trainer.home),
    )
    one.wait_for("Its reward of 0.882 SOL can be claimed. auto_claim is off. To claim, stop this daemon and run")
    assert one.process.wait(timeout=60) == 0
    assert [entry["state"] for entry in trainer.json("claim", "--all")["rounds"]] == ["claimed"]
    assert [entry["state"] for entry in trainer.json("history")["rounds"]] == ["claimed", "claimed"]
