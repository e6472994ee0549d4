"""The options of `start` become settings, and errors appear before the daemon starts."""

from __future__ import annotations

from typing import Any

import base58
import pytest
from solders.keypair import Keypair

from decloud_pl.cli.commands.start import all_overrides
from decloud_pl.cli.commands.start import run as start
from decloud_pl.cli.config.shown import value_at
from decloud_pl.config import Settings, load


def settings_of(*arguments: str) -> Settings:
    options = start.make_context("start", [*arguments]).params
    del options["plain"]
    return load(all_overrides(**options))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--preset", "quick-test"], {"max_batches": 50, "datasets": ["cifar10", "mnist", "digits"]}),
        (
            ["--dataset", "mnist,cifar10", "--min-reward", "0.05", "--max-reward", "2", "--no-auto-train"],
            {"datasets": ["mnist", "cifar10"], "rewards.min": "0.05", "rewards.max": "2"}
            | {"auto_train": False, "auto_claim": True},
        ),
        (
            ["--epochs", "3", "--max-parallel", "4", "--no-auto-claim"],
            {"epochs": 3, "max_concurrent_rounds": 4, "auto_train": True, "auto_claim": False},
        ),
        (["--", "epochs=3", "optimizer=sgd"], {"epochs": 3}),
        (["epochs=3", "--min-reward", "1", "seed=4"], {"epochs": 3, "rewards.min": "1", "seed": 4}),
        (["--epochs", "3", "epochs=4", "--min-reward", "0.2", "min_reward=0.3"], {"epochs": 4, "rewards.min": "0.3"}),
        (["--preset", "high-reward", "--min-reward", "0.2"], {"rewards.min": "0.2"}),
        (
            ["min_reward=0.3", "max_reward=3", "keypair_path=~/my key.json"],
            {"rewards.min": "0.3", "rewards.max": "3", "wallet.keypair_path": "~/my key.json"},
        ),
    ],
)
def test_options(arguments: list[str], expected: dict[str, object], home: Any) -> None:
    settings = settings_of(*arguments)
    assert {place: value_at(settings, place) for place in expected} == expected


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        # tests/cli/test_usage.py has more of these.
        (["--epochs", "many"], 3, '--epochs must be a whole number (got "many").'),
        (["--max-parallel", "-1"], 3, "--max-parallel must be at least 1 (got -1)."),
        (["--min-reward", "1,5"], 3, "'1,5' is not an amount in SOL"),
        (["--no-auto"], 2, "No such option '--no-auto'. Did you mean one of: '--no-auto-claim', '--no-auto-train'?"),
        (["--fast"], 2, "No such option '--fast'."),
        (["--epoch", "2"], 2, "No such option '--epoch'. Did you mean '--epochs'?"),
        (["--epochs"], 2, "Option '--epochs' requires an argument. See `decloud-trainer start --help`."),
        (["fast"], 3, "'fast' does not have the form KEY=VALUE"),
        (["+epoch=1"], 3, "Unknown setting 'epoch'. Did you mean 'epochs'?"),
        (["private_key=abc"], 3, "private_key is a secret, so it is not allowed on a command line"),
        (["wallet.keypair_path=/there/is/none"], 4, "/there/is/none does not exist."),
    ],
)
def test_wrong_options(arguments: list[str], code: int, words: str, run: Any) -> None:
    ran = run("start", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert words in ran.err
    assert len(ran.err.splitlines()) == 1


def test_a_missing_storage_is_reported_before_joining(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The documentation calls this "Failed to upload gradients", after the training."""
    key = base58.b58encode(bytes(Keypair())).decode()
    monkeypatch.setenv("DECLOUD_PRIVATE_KEY", key)
    ran = run("start", "--no-auto-train", "network=devnet")
    assert ran.code == 3
    for way in ("PINATA_JWT", "PINATA_API_KEY and PINATA_SECRET_KEY", "config --set pinata_jwt=-", "storage=kubo"):
        assert way in ran.err
    assert key not in ran.out + ran.err


@pytest.mark.parametrize(
    "address",
    [
        "network.gateways=[https://gateway.example.test]",
        "network.ws_url=wss://rpc.example.test",
        "network.rpc_url=https://rpc.example.test",
        "network.fallback_rpc_urls=[https://rpc.example.test]",
        "storage.kubo_address=/dns/node.example.test/tcp/443/https",
    ],
)
def test_a_wrong_proxy_is_named_before_anything_is_asked(
    address: str, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DECLOUD_PRIVATE_KEY", base58.b58encode(bytes(Keypair())).decode())
    monkeypatch.setenv("https_proxy", "socks5://me:SECRET@proxy.example.test")
    ran = run("start", "--plain", "network.rpc_url=http://127.0.0.1:9", "storage=kubo", "auto_train=false", address)
    assert ran.code == 3
    assert "https_proxy is a SOCKS proxy, which this program does not support. Set it to an address" in ran.err
    assert "SECRET" not in ran.out + ran.err
    assert "does not answer" not in ran.out + ran.err


def test_a_missing_private_key_is_reported_with_all_remedies(run: Any) -> None:
    said = run("start").err
    for way in ("wallet new", "solana-keygen new", "DECLOUD_PRIVATE_KEY", "--set private_key=-", "solana config set"):
        assert way in said


def test_a_covered_preset_is_pointed_out(run: Any) -> None:
    run("config", "--set", "min_reward=0.5")
    assert "of the preset high-reward. To use the preset's values:" in run("start", "--preset", "high-reward").err


def test_an_experiment_is_refused(run: Any) -> None:
    """The daemon would join rounds and pay for them."""
    refused = run("start", "task=experiment")
    assert (refused.code, "Run `python -m decloud_pl task=experiment" in refused.err) == (3, True)
