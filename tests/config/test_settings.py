"""Composed settings are typed and checked, and errors state the valid values."""

from __future__ import annotations

import dataclasses
from copy import deepcopy
from pathlib import Path

import pytest

from decloud_pl.cli.config.shown import value_at
from decloud_pl.config import NetworkConfig, RewardsConfig, Settings, compose, default_home
from decloud_pl.config.layers import Sources
from decloud_pl.config.refusals import check
from decloud_pl.daemon.settings import facts
from decloud_pl.domain import format_sol, parse_sol
from decloud_pl.errors import ConfigError

ADDRESS = "3JF3sEqM796hk5WFqA6EtmEwJQ9quALszsfJyvXNQKy3"


@pytest.fixture(scope="module")
def composed() -> Settings:
    """The default settings, composed once, which takes 0.3 s."""
    return compose()


@pytest.fixture
def defaults(composed: Settings) -> Settings:
    """A copy that a test may change."""
    return deepcopy(composed)


def test_defaults(defaults: Settings) -> None:
    settings = defaults
    assert settings.network.name == "local"
    assert settings.storage.kind == "embedded"
    assert (settings.epochs, settings.batch_size, settings.learning_rate, settings.max_batches) == (1, 32, 0.001, 0)
    assert (settings.rewards.min_lamports, settings.rewards.max_lamports) == (0, 0)
    assert (settings.auto_train, settings.auto_claim, settings.poll_interval) == (True, True, 5.0)
    assert settings.all_mappings() == {"custom": "digits"}


def test_overrides_and_groups() -> None:
    settings = compose(["network=devnet", "rewards.min=0.05", "epochs=3", "datasets=[mnist,cifar10]"])
    assert settings.network.name == "devnet"
    assert settings.rewards.min_lamports == 50_000_000
    assert settings.epochs == 3
    assert settings.datasets == ["mnist", "cifar10"]


def test_user_mappings_lie_over_the_networks() -> None:
    settings = compose(["+mappings.custom=fashionmnist"])
    assert settings.all_mappings() == {"custom": "fashionmnist"}


@pytest.mark.parametrize(
    ("override", "words"),
    [
        # tests/config/test_hydra_entry.py has more of these.
        ("epoch=2", "Unknown setting 'epoch'. Did you mean 'epochs'?"),
        ("epochs=0", "epochs must be at least 1 (got 0)."),
        ("daemon.ray.cpu=1", "Did you mean 'daemon.ray.cpus'?"),
        ("--epochs=2", "does not have the form KEY=VALUE"),
    ],
)
def test_a_wrong_override_leads_to_one_message(override: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose([override])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("learning_rate", -1.0, "learning_rate must be greater than 0 (got -1.0)."),
        ("rewards.min", "plenty", "min_reward: 'plenty' is not an amount in SOL"),
        ("rewards.min", "-1", "is not an amount in SOL"),
        ("rewards.validators.block", ["abc"], "rewards.validators.block: 'abc' is not an address, which is 32 bytes"),
        ("rewards.creators.allow", [f"{ADDRESS[:-1]}0"], "QKy0' is not an address"),
        ("rewards.creators.allow", ["1" * 31], "is not an address"),
        ("rewards.validators.allow", ["5" * 88], "a value of 88 characters is too long for an address"),
        ("rewards.min_completion", 1.1, "rewards.min_completion must be a number from 0 to 1 (got 1.1)."),
        ("rewards.min_profit", "much", "rewards.min_profit: 'much' is not"),
        ("submit.when", "sometimes", "submit.when must be 'early' or 'late' (got 'sometimes')."),
        ("task", "fly", "task must be 'daemon'"),
        ("task", "round", "need each other"),
        ("network.convention", "sideways", "'delta' or 'gradient'"),
        (
            "network.rpc_url",
            "ftp://x",
            "network.rpc_url: it must begin with http:// or https:// (got ftp://). Write a value like https://",
        ),
        ("network.fallback_rpc_urls", ["nothing"], "fallback_rpc_urls: it must begin with http://"),
        ("rewards", RewardsConfig(min="2", max="1"), "max_reward is less than min_reward. Raise max_reward"),
        ("chain.daily_cap", "-1", "chain.daily_cap"),
        ("chain.max_priority_lamports", -1, "chain.max_priority_lamports must be at least 0 (got -1)"),
        ("daemon.hang_minutes", 0.0, "daemon.hang_minutes must be greater than 0 (got 0.0)"),
        ("daemon.executor", "slurm", "must be 'process' or 'ray'"),
        ("daemon.ray.cpus", 0, "daemon.ray.cpus must be at least 1 (got 0)"),
        ("daemon.ray.gpus", -1.0, "daemon.ray.gpus must be at least 0 (got -1.0)"),
        ("daemon.ray.gpus", 1.5, "whole number"),
        ("daemon.ray.address", "http://host", "HOST:PORT or ray://HOST:PORT"),
        ("update.dtype", "int8", "update.dtype must be 'float16', 'bfloat16' or 'float32' (got 'int8')"),
        ("update.top_k", 1.5, "update.top_k must be a number from 0 to 1 (got 1.5)"),
        ("update.top_k", -0.1, "update.top_k must be a number from 0 to 1 (got -0.1)"),
        ("update.min_kept", 2.0, "update.min_kept must be a number from 0 to 1 (got 2.0)"),
        ("update.min_gain", 5.0, "update.min_gain must be a number from 0 to 1 (got 5.0)"),
        ("update.convention", "grad", "update.convention must be 'delta' or 'gradient' (got 'grad')"),
        (
            "update.candidates",
            ["magic"],
            "update.candidates must be a list of some of ema, average, soup, scale, lower",
        ),
        ("update.candidates", ["scale", "scale"], "each at most once (got ['scale', 'scale'])"),
        ("tune.method", "guess", "tune.method must be 'none' or 'probe' (got 'guess')"),
        ("tune.rates", [], "tune.rates must be a list of multiples"),
        ("tune.rates", [1.0], "not all of them 1, like [0.3,1,3] (got [1.0])"),
        ("tune.rates", [0.5, -1.0], "(got [0.5, -1.0])"),
        ("tune.epochs", [0], "tune.epochs must be a list of numbers of at least 1"),
        ("tune.most_epochs", -1, "tune.most_epochs must be at least 0"),
        ("tune.batches", 0, "tune.batches must be at least 1"),
        ("tune.share", 0.0, "tune.share must be greater than 0"),
        ("tune.share", 0.6, "tune.share must be at most 0.5 (got 0.6)"),
        ("tune.max_seconds", 0.0, "tune.max_seconds must be greater than 0"),
    ],
)
def test_a_wrong_value_leads_to_one_message(place: str, value: object, words: str, defaults: Settings) -> None:
    above, _, name = place.rpartition(".")
    setattr(value_at(defaults, above) if above else defaults, name, value)
    with pytest.raises(ConfigError) as caught:
        check(defaults, Sources())
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_address_is_allowed_or_blocked_and_not_repeated_if_it_may_be_a_key(defaults: Settings) -> None:
    settings = compose([f"rewards.validators.allow=[{ADDRESS}]", f"rewards.creators.block=[{ADDRESS}]"])
    assert (settings.rewards.validators.allow, settings.rewards.creators.block) == ([ADDRESS], [ADDRESS])
    settings.rewards.validators.block = [ADDRESS]
    with pytest.raises(ConfigError, match=f"{ADDRESS} is in both rewards.validators.allow and rewards.validators"):
        check(settings, Sources())
    defaults.rewards.validators.allow = ["5" * 88]
    with pytest.raises(ConfigError) as error:
        check(defaults, Sources())
    assert "5555" not in str(error.value)


def test_home_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DECLOUD_HOME", str(tmp_path))
    settings = compose()
    assert settings.home_path == tmp_path
    assert Path(value_at(settings, "storage.path")) == tmp_path / "localnet" / "store"
    assert default_home({"DECLOUD_HOME": "/elsewhere"}) == Path("/elsewhere")
    assert default_home({}) == Path("~/.decloud-trainer").expanduser()


@pytest.mark.parametrize(
    ("rpc_url", "websocket_url"),
    [
        ("http://127.0.0.1:8899", "ws://127.0.0.1:8900"),
        ("https://rpc.example.org", "wss://rpc.example.org"),
        ("http://[::1]:9000", "ws://[::1]:9001"),
        ("http://127.0.0.1:8899/", "ws://127.0.0.1:8900"),
        ("https://rpc.example.org:443", "wss://rpc.example.org:443"),
        ("http://rpc.example.org:80/", "ws://rpc.example.org:80"),
        ("https://rpc.example.org:443/v2/KEY?api-key=1", "wss://rpc.example.org:443/v2/KEY?api-key=1"),
        ("https://rpc.example.org:8443/v2/KEY", "wss://rpc.example.org:8443/v2/KEY"),
        ("https://rpc.example.org:8443/?api-key=1", "wss://rpc.example.org:8443?api-key=1"),
        ("https://me:secret@[::1]/key", "wss://me:secret@[::1]/key"),
    ],
)
def test_the_websocket_is_one_port_up_or_at_the_providers_address(rpc_url: str, websocket_url: str) -> None:
    assert NetworkConfig(rpc_url=rpc_url).websocket_urls()[0] == websocket_url
    assert NetworkConfig(rpc_url=rpc_url, ws_url="ws://other").websocket_urls()[0] == "ws://other"


def test_the_solana_clis_network(tmp_path: Path) -> None:
    folder = Path("~/.config/solana/cli").expanduser()
    with pytest.raises(ConfigError, match="has no RPC address"):
        compose(["network=solana-cli"])
    folder.mkdir(parents=True)
    (folder / "config.yml").write_text("json_rpc_url: https://rpc.example.org\nwebsocket_url: ''\n")
    network = compose(["network=solana-cli"]).network
    assert (network.rpc_url, network.websocket_urls()) == ("https://rpc.example.org", ["wss://rpc.example.org"])
    (folder / "config.yml").write_text("json_rpc_url: http://127.0.0.1:8899\nwebsocket_url: ws://127.0.0.1:9\n")
    assert compose(["network=solana-cli"]).network.websocket_urls()[0] == "ws://127.0.0.1:9"


def test_fallbacks_have_websockets_too() -> None:
    network = compose(["network=mainnet", "network.fallback_rpc_urls=[https://b.example.org/key]"]).network
    assert network.websocket_urls() == ["wss://api.mainnet-beta.solana.com", "wss://b.example.org/key"]


@pytest.mark.parametrize(
    ("text", "lamports"), [("0", 0), ("1", 10**9), ("0.000000001", 1), (" 2.5 ", 2_500_000_000), ("1e-09", 1)]
)
def test_sol_amounts_are_exact(text: str, lamports: int) -> None:
    assert parse_sol(text) == lamports


@pytest.mark.parametrize("text", ["", "x", "-1", "0.0000000001", "nan", "inf", "1e400"])
def test_an_invalid_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an amount in SOL"):
        parse_sol(text)


@pytest.mark.parametrize(
    ("lamports", "text"), [(0, "0 SOL"), (1, "0.000000001 SOL"), (10**9, "1 SOL"), (-5 * 10**8, "-0.5 SOL")]
)
def test_sol_amounts_are_shown_exactly(lamports: int, text: str) -> None:
    assert format_sol(lamports) == text


@pytest.mark.parametrize(
    "given", [["mappings={custom: cifar10, mnist: mine}"], ["mappings.custom=cifar10", "mappings.mnist=mine"]]
)
def test_mappings_and_paths(given: list[str]) -> None:
    paths = ["paths.imdb=/data/x.csv?text=a&label=b", "paths.mine=/data/my sets"]
    settings = compose([*given, "mappings.proprietary_data=mnist", *paths])
    assert settings.all_mappings() == {"custom": "cifar10", "mnist": "mine", "proprietary_data": "mnist"}
    assert settings.paths == {"imdb": "/data/x.csv?text=a&label=b", "mine": "/data/my sets"}


def test_the_data_folder_reaches_the_data_set(tmp_path: Path) -> None:
    settings = compose(["dataset=mnist", f"home={tmp_path}", "data.mirror=http://127.0.0.1:1", "data.download=false"])
    assert settings.dataset["data"] == {
        "folder": f"{tmp_path}/data",
        "mirror": "http://127.0.0.1:1",
        "download": False,
    }


@pytest.mark.parametrize(
    ("network", "update", "written", "shown"),
    [
        ({}, "", "delta", "each validator's rounds show"),
        ({"dialect": "v1.0"}, "", "gradient", "each validator's rounds show"),
        ({"convention": "gradient"}, "", "gradient", "gradient, rate 0.1"),
        ({"convention": "gradient", "gradient_rate": 0.5}, "", "gradient", "gradient, rate 0.5"),
        ({"convention": "gradient"}, "delta", "delta", "gradient, rate 0.1; written as delta"),
        ({}, "gradient", "gradient", "each validator's rounds show; written as gradient"),
        ({"convention": "delta"}, "gradient", "gradient", "delta; written as gradient"),
    ],
)
def test_updates_are_written_as_they_are_read_unless_the_user_decides_otherwise(
    network: dict[str, str], update: str, written: str, shown: str, defaults: Settings
) -> None:
    settings = defaults
    settings.network = dataclasses.replace(settings.network, **network)  # type: ignore[arg-type]
    settings.update.convention = update
    check(settings, Sources())
    assert settings.written_convention() == written
    assert settings.network.describe_convention(settings.written_convention()) == shown
    assert facts(settings, "none")["convention"] == shown.replace("each validator's rounds show", "auto")
