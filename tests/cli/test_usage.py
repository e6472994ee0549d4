"""Wrong input leads to one message and a stable exit code, and help imports no heavy modules."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from decloud_pl.cli import main
from decloud_pl.cli.ui.streams import with_advice
from decloud_pl.errors import RpcUnavailable, StoreRejected, StoreUnavailable


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DECLOUD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DECLOUD_PRIVATE_KEY", raising=False)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "See `decloud-trainer --help`."),
        (["confg"], 2, "No such command 'confg'. Did you mean 'config'?"),
        (["train"], 2, "train needs the ID of a round."),
        (["train", "--epochs", "2", "batch_size=3"], 2, "train needs the ID of a round."),
        (["status", "mnist"], 2, "Invalid value for 'ID': 'mnist' is not the ID of a round."),
        (["start", "convention=delta"], 3, "Did you mean 'update.convention' or 'network.convention'?"),
        (["start", "--preset", "nope"], 3, "Unknown preset 'nope'. Known: cifar-only,"),
        (["start", "--min-reward", "2", "--max-reward", "1"], 3, "--max-reward is less than --min-reward."),
        (["start", "--min-reward", "2", "rewards.max=1"], 3, "rewards.max is less than --min-reward. Raise"),
        (["start", "--epochs", "0"], 3, "--epochs must be at least 1"),
        (["start", "--dataset", "mnits"], 3, "--dataset: unknown data set 'mnits'. Did you mean 'mnist'?"),
        (["datasets", "--download", "nope"], 8, "No reader supports the data set 'nope'. Known: agnews, "),
        (["datasets", "--download", "mnits"], 8, "Did you mean 'mnist'?"),
        (["localnet", "--dataset", "cifr10"], 2, "The network has no data set 'cifr10'. Did you mean 'cifar10'?"),
        (["fly"], 2, "No such command 'fly'. See `decloud-trainer --help`."),
        (["stats"], 2, "No such command 'stats'. Did you mean"),
        (["storage", "putt"], 2, "No such command 'putt'. Did you mean 'put'?"),
        (["storage"], 2, "Missing command. See `decloud-trainer storage --help`."),
        (["wallet"], 2, "Choose from: new, address."),
        (["completion", "bsh"], 2, "unknown choice 'bsh'. Did you mean 'bash'?"),
        (["list", "--status", "trainin"], 2, "unknown choice 'trainin'. Did you mean 'training'?"),
        (["localnet", "--convention", "deltas"], 2, "Did you mean 'delta'?"),
        (["localnet", "--dialect", "v1.3"], 2, "unknown choice 'v1.3'"),
        (["demo", "--dialect", "1.2"], 2, "Did you mean 'v1.2'?"),
        (["join"], 2, "join needs the ID of a round."),
        (["join", "one"], 2, "'one' is not the ID of a round."),
        (["join", str(2**64)], 2, "is not the ID of a round."),
        (["join", "1" * 5_000], 2, "is not the ID of a round."),
        (["status", "one"], 2, "'one' is not the ID of a round."),
        (["claim"], 2, "claim needs either the ID of a round or --all."),
        (["claim", "1", "--all"], 2, "claim needs either the ID of a round or --all."),
        (["demo", "--rounds", "0"], 2, "--rounds must be at least 1 (got 0)"),
        (["demo", "--rounds", "many"], 2, "'many' is not a valid integer"),
        (["localnet", "--speed", "0"], 2, "--speed must be greater than 0 and at most 1000 (got 0)"),
        (["localnet", "--speed", "1001"], 2, "at most 1000"),
        (["localnet", "--speed", "nan"], 2, "(got nan)"),
        (["localnet", "--reward", "much"], 2, "'much' is not an amount in SOL"),
        (["localnet", "--rpc-port", "99999"], 2, "--rpc-port must be from 0 to 65534 (got 99999)"),
        (["start"], 4, "No private key found."),
        (["wallet", "address"], 4, "No private key found."),
    ],
)
def test_wrong_input(arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert words in shown.err
    assert shown.err.startswith("decloud-trainer: ")
    assert len(shown.err.strip().splitlines()) == 1


def test_nobody_at_the_rpc_address(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    key = tmp_path / "id.json"
    assert main(["wallet", "new", "--keypair", str(key)]) == 0
    capsys.readouterr()
    arguments = ["start", "network.rpc_url=http://127.0.0.1:9", f"wallet.keypair_path={key}"]
    assert main([*arguments, "task=round", "round=0"]) == 5
    shown = capsys.readouterr()
    assert "127.0.0.1:9 does not answer" in shown.err
    assert "Traceback" not in shown.err


def test_a_failure_that_passes_ends_with_what_to_do() -> None:
    assert with_advice(StoreUnavailable("Pinata is slow.")) == "Pinata is slow. Run the command again later."
    assert with_advice(RpcUnavailable("Busy.", retry_after=30.4)) == "Busy. Run the command again in 30 s."
    assert with_advice(RpcUnavailable("Away.", fix="Check the connection.")) == "Away. Check the connection."
    assert with_advice(StoreRejected("No.")) == "No."


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_daemon_waits_for_the_rpc_address_until_it_is_stopped(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    key = tmp_path / "id.json"
    assert main(["wallet", "new", "--keypair", str(key)]) == 0
    arguments = ["start", "--plain", "network.rpc_url=http://127.0.0.1:9", f"wallet.keypair_path={key}"]
    command = [sys.executable, "-m", "decloud_pl.cli", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as child:
        assert child.stdout is not None
        said = [next(line for line in child.stdout if "Retrying in" in line) for _ in range(2)]
        child.send_signal(number)
        try:
            rest, _ = child.communicate(timeout=60)
        finally:
            child.kill()
        assert child.returncode == code
    assert "127.0.0.1:9 does not answer" in said[0]
    assert "Retrying in 1 s." in said[1]
    assert "Traceback" not in rest


def test_a_broken_key_is_not_repeated(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DECLOUD_PRIVATE_KEY", "5KQwrPbwdL6PhXujxW37FSSQZ1JiwsST4cqQzDeyXtP79zkvFD3broken")
    assert main(["start"]) == 4
    shown = capsys.readouterr()
    assert "DECLOUD_PRIVATE_KEY does not hold a private key." in shown.err
    assert "5KQwrPbw" not in shown.err + shown.out


def test_a_new_wallet_is_announced_and_kept(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    key = tmp_path / "new.json"
    assert main(["wallet", "new", "--keypair", str(key)]) == 0
    first = capsys.readouterr().out
    assert main(["wallet", "address", "--keypair", str(key)]) == 0
    assert capsys.readouterr().out.strip() in first
    assert main(["wallet", "new", "--keypair", str(key)]) == 4


def test_hydra_entry_point_reports_like_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "decloud_pl", "preset=nope"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 3
    assert done.stderr.startswith("decloud_pl: Unknown preset 'nope'. Known: cifar-only, ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("line", [["status", "--json", "network=local"], ["status", "network=local", "--json"]])
def test_settings_may_stand_where_an_argument_is_left_out(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line) == 4
    assert "No private key found" in capsys.readouterr().err
