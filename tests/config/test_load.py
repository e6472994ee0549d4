"""The precedence is built-in < preset < experiment < config.json < environment < command line."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from decloud_pl.cli.config.shown import MAIN, show, value_at, warn_if_covered
from decloud_pl.config import compose, load
from decloud_pl.config.layers import sources
from decloud_pl.config.load import composed
from decloud_pl.config.names import find, settings_by_name
from decloud_pl.config.values import from_text
from decloud_pl.config_dir import config_dir
from decloud_pl.errors import ConfigError

# The values in every preset's file are compared with the documentation in tests/cli/test_config.py.
PRESETS: dict[str, tuple[list[str], int, int]] = {
    "high-reward": ([], 100_000_000, 0),
    "quick-test": (["cifar10", "mnist", "digits"], 0, 50),
}


def origins(environ: dict[str, str], *overrides: str) -> dict[str, tuple[Any, str]]:
    """Return the value and origin of every setting."""
    return {entry.name: (entry.value, entry.origin) for entry in show(composed(sources(overrides, environ=environ)))}


def origin(name: str, environ: dict[str, str], *overrides: str) -> tuple[Any, str]:
    return origins(environ, *overrides)[name]


@pytest.mark.parametrize("preset", PRESETS)
def test_presets(preset: str, environ: dict[str, str]) -> None:
    datasets, min_reward, max_batches = PRESETS[preset]
    settings = load(environ={**environ, "DECLOUD_PRESET": preset})
    assert settings.datasets == datasets
    assert (settings.rewards.min_lamports, settings.max_batches) == (min_reward, max_batches)


DEFAULTS: dict[str, object] = {
    "private_key": None,
    "keypair_path": "~/.config/solana/id.json",
    "datasets": [],
    "min_reward": "0",
    "max_reward": "0",
    "epochs": 1,
    "batch_size": 32,
    "learning_rate": 0.001,
    "max_batches": 0,
    "max_concurrent_rounds": 1,
    "auto_train": True,
    "auto_claim": True,
    "poll_interval": 5.0,
    "pinata_api_key": None,
    "pinata_secret_key": None,
    "pinata_jwt": None,
    "mappings": {},
    "paths": {},
    "network": "local",
    "storage": "embedded",
    "preset": "none",
}


def test_defaults(environ: dict[str, str]) -> None:
    shown = origins(environ)
    assert {name: shown[name] for name in DEFAULTS} == {name: (value, "built-in") for name, value in DEFAULTS.items()}


def test_the_main_settings_are_all_here() -> None:
    secrets = {"pinata_jwt", "pinata_api_key", "pinata_secret_key"}
    assert {*MAIN, *secrets} == set(DEFAULTS)
    assert set(DEFAULTS) <= set(settings_by_name())


# A setting per row: its value in config.json, in the environment, as a Hydra override, and as shown.
LADDER: list[tuple[str, object, str, str, tuple[object, object, object]]] = [
    ("keypair_path", "/a", "/b", "wallet.keypair_path=/c", ("/a", "/b", "/c")),
    ("datasets", ["mnist"], "svhn,sst2", "datasets=[imdb]", (["mnist"], ["svhn", "sst2"], ["imdb"])),
    ("min_reward", 0.1, "0.2", "rewards.min=0.3", ("0.1", "0.2", "0.3")),
    ("max_reward", "1", "2", "rewards.max=3", ("1", "2", "3")),
    ("epochs", 2, "3", "epochs=4", (2, 3, 4)),
    ("batch_size", 8, "16", "batch_size=64", (8, 16, 64)),
    ("learning_rate", 0.01, "2e-2", "learning_rate=3e-2", (0.01, 0.02, 0.03)),
    ("max_batches", 5, "6", "max_batches=7", (5, 6, 7)),
    ("max_concurrent_rounds", 2, "3", "max_concurrent_rounds=4", (2, 3, 4)),
    ("auto_train", False, "yes", "auto_train=false", (False, True, False)),
    ("auto_claim", False, "1", "auto_claim=false", (False, True, False)),
    ("poll_interval", 2, "2.5", "poll_interval=3.5", (2.0, 2.5, 3.5)),
    (
        "mappings",
        {"custom": "a"},
        "custom:b",
        "++mappings.custom=c",
        ({"custom": "a"}, {"custom": "b"}, {"custom": "c"}),
    ),
    ("paths", {"mnist": "/a"}, "mnist:/b", "++paths.mnist=/c", ({"mnist": "/a"}, {"mnist": "/b"}, {"mnist": "/c"})),
    ("network", "devnet", "mainnet", "network=local", ("devnet", "mainnet", "local")),
    ("preset", "cifar-only", "text-all", "preset=none", ("cifar-only", "text-all", "none")),
    ("network.rpc_url", "http://a", "http://b", "network.rpc_url=http://c", ("http://a", "http://b", "http://c")),
    ("seed", 1, "2", "seed=3", (1, 2, 3)),
    ("optimizer", "sgd", "adamw", "optimizer=adam", ("sgd", "adamw", "adam")),
]


def test_each_layer_covers_the_one_below(environ: dict[str, str], keep: Any) -> None:
    names = [name for name, *_ in LADDER]
    variables = {name: f"DECLOUD_{name.replace('.', '_').upper()}" for name in names}
    keep({"version": 1, **{name: kept for name, kept, *_ in LADDER}})
    both = {**environ, **{variables[name]: given for name, _, given, *_ in LADDER}}
    for layer, shown in enumerate(
        (origins(environ), origins(both), origins(both, *(override for *_, override, _ in LADDER)))
    ):
        origin_of = [dict.fromkeys(names, "config.json"), variables, dict.fromkeys(names, "command line")][layer]
        assert {name: shown[name] for name in names} == {
            name: (read[layer], origin_of[name]) for name, *_, read in LADDER
        }


# A choice of a group alone, and a value in a group. The test above sets another choice of the same group.
ALONE = [row for row in LADDER if row[0] in ("network", "preset", "network.rpc_url", "optimizer")]


@pytest.mark.parametrize(("name", "kept", "given", "override", "read"), ALONE, ids=str)
def test_a_setting_alone_covers_the_one_below(
    name: str, kept: object, given: str, override: str, read: tuple[object, ...], environ: dict[str, str], keep: Any
) -> None:
    variable = f"DECLOUD_{name.replace('.', '_').upper()}"
    keep({"version": 1, name: kept})
    assert origin(name, {**environ, variable: given}, override) == (read[2], "command line")


def test_config_json_beats_the_preset(environ: dict[str, str], keep: Any) -> None:
    keep({"preset": "high-reward", "min_reward": "0.5"})
    assert load(environ=environ).rewards.min_lamports == 500_000_000
    assert load(["preset=high-reward"], environ=environ).rewards.min_lamports == 500_000_000
    assert warn_if_covered(sources(environ=environ)) == ["min_reward"]


def test_a_preset_overrides_built_in_values(environ: dict[str, str], keep: Any) -> None:
    keep({"preset": "quick-test"})
    assert origin("max_batches", environ) == (50, "preset quick-test")
    assert load(["max_batches=3"], environ=environ).max_batches == 3


def test_another_network_leaves_the_kept_ones_addresses_behind(environ: dict[str, str], keep: Any) -> None:
    keep({"network": "devnet", "network.rpc_url": "http://127.0.0.1:1"})
    assert load(environ=environ).network.rpc_url == "http://127.0.0.1:1"
    assert load(["network=devnet"], environ=environ).network.rpc_url == "http://127.0.0.1:1"
    assert load(environ={**environ, "DECLOUD_NETWORK": "local"}).network.rpc_url == "http://127.0.0.1:8899"
    assert origin("network.rpc_url", environ, "network=local") == ("http://127.0.0.1:8899", "command line")


def test_another_storage_keeps_its_settings(environ: dict[str, str], keep: Any) -> None:
    keep({"storage": "embedded", "storage.kubo_address": "/ip4/127.0.0.1/tcp/1/http"})
    node = "/ip4/127.0.0.1/tcp/1/http"
    assert value_at(load(["storage=kubo"], environ=environ), "storage.kubo_address") == node
    both = {**environ, "DECLOUD_STORAGE": "kubo"}
    assert value_at(load(environ=both), "storage.kubo_address") == node
    keep({"optimizer": "adamw", "optimizer.weight_decay": 0.5})
    assert "weight_decay" not in load(["optimizer=sgd"], environ=environ).optimizer


KUBO, BLOCKED = "/ip4/127.0.0.1/tcp/1/http", ["3JF3sEqM796hk5WFqA6EtmEwJQ9quALszsfJyvXNQKy3"]


@pytest.mark.parametrize(
    ("above", "kept", "choice", "changed"),
    [
        ("command line", {"min_reward": "0.05", "max_reward": "2"}, "rewards=high", {"min_reward": "0.1"}),
        ("environment", {"rewards": "high", "min_reward": "0.05"}, "rewards=high", {"min_reward": "0.1"}),
        ("command line", {"rewards": "high", "min_reward": "0.05"}, "rewards=high", {"min_reward": "0.1"}),
        (
            "environment",
            {"rewards.min_profit": "", "min_reward": "0.05"},
            "rewards=profitable",
            {"rewards.min_profit": "0.000001"},
        ),
        (
            "command line",
            {
                "min_reward": "0.05",
                "max_reward": "2",
                "rewards.min_profit": "1",
                "rewards.watts": 65,
                "rewards.validators.block": BLOCKED,
                "rewards.min_completion": 0.8,
            },
            "rewards=any",
            {"min_reward": "0", "max_reward": "0", "rewards.min_profit": ""},
        ),
        (
            "environment",
            {"storage.kind": "pinata", "storage.timeout": 9.0, "storage.kubo_address": KUBO},
            "storage=kubo",
            {"storage.kind": "kubo"},
        ),
        ("command line", {"storage.kind": "pinata", "storage.timeout": 9.0}, "storage=kubo", {"storage.kind": "kubo"}),
    ],
)
def test_a_choice_of_rewards_or_a_storage_covers_only_what_defines_it(
    above: str, kept: dict[str, Any], choice: str, changed: dict[str, str], environ: dict[str, str], keep: Any
) -> None:
    keep(kept)
    group, _, name = choice.partition("=")
    variable = f"DECLOUD_{group.upper()}"
    by_variable = above == "environment"
    shown = origins({**environ, variable: name}) if by_variable else origins(environ, choice)
    where = variable if by_variable else above
    assert {one: shown[one] for one in changed} == {one: (value, where) for one, value in changed.items()}
    rest = kept.keys() - changed.keys() - {group}
    assert {one: shown[one] for one in rest} == {one: (kept[one], "config.json") for one in rest}


def test_a_value_of_the_same_or_a_higher_layer_adjusts_a_choice(environ: dict[str, str], keep: Any) -> None:
    keep({"rewards": "high", "min_reward": "0.2"})
    assert origin("min_reward", environ) == ("0.2", "config.json")
    assert origin("min_reward", environ, "rewards=high", "rewards.min=0.3") == ("0.3", "command line")
    by_variables = {**environ, "DECLOUD_REWARDS": "high", "DECLOUD_MIN_REWARD": "0.4"}
    assert origin("min_reward", by_variables) == ("0.4", "DECLOUD_MIN_REWARD")
    only_the_value = {**environ, "DECLOUD_MIN_REWARD": "0.4"}
    assert origin("min_reward", only_the_value) == ("0.4", "DECLOUD_MIN_REWARD")
    assert origin("min_reward", only_the_value, "rewards=high") == ("0.1", "command line")
    # Of two choices, only the higher one counts.
    assert origin("min_reward", {**environ, "DECLOUD_REWARDS": "any"}, "rewards=profitable") == ("0.2", "config.json")


def test_a_saved_choice_covers_a_preset_and_says_so(
    environ: dict[str, str], keep: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    keep({"preset": "high-reward", "rewards": "any"})
    assert origin("min_reward", environ) == ("0", "config.json")
    assert warn_if_covered(sources(environ=environ)) == ["rewards"]
    assert "config.json overrides rewards of the preset high-reward." in capsys.readouterr().err
    keep({"preset": "high-reward"})
    assert origin("min_reward", environ, "rewards=any") == ("0", "command line")


def test_a_users_own_rewards_cover_what_their_file_sets(home: Path, environ: dict[str, str], keep: Any) -> None:
    folder = home / "conf" / "rewards"
    folder.mkdir(parents=True)
    (folder / "strict.yaml").write_text("defaults: [high, _self_]\nmin_completion: 0.8\nvalidators:\n  block: []\n")
    (folder / "copied.yaml").write_text((config_dir() / "rewards" / "any.yaml").read_text())
    kept = {"min_reward": "0.05", "rewards.min_completion": 0.5, "rewards.validators.block": BLOCKED}
    keep(kept)
    shown = origins(environ, "rewards=strict")
    assert {one: shown[one][0] for one in kept} == {**kept, "min_reward": "0.1", "rewards.min_completion": 0.8}
    shown = origins(environ, "rewards=copied")
    assert {one: shown[one][0] for one in kept} == {**kept, "min_reward": "0"}  # an empty rule of a file covers none


@pytest.mark.parametrize(
    ("text", "least"),
    [
        ("# @package _global_\ndatasets: [mnist]\nrewards: {min: 0.2}\n", "0.2"),
        ("# @package rewards\nmin: 0.2\n", "0.2"),
        ("# @package _global_\ndefaults: [high@rewards, _self_]\nseed: 1\n", "0.1"),
        ("defaults: [high@_here_, _self_]\n", "0.1"),
        ("defaults: [/rewards/high@_here_, _self_]\n", "0.1"),
        ("defaults: [high@_global_.rewards, _self_]\n", "0.1"),
        ("defaults: [inner, _self_]\n", "0.3"),
        ("# @package rewards.validators\nallow: []\n", "0.05"),
        ("defaults: [high, any, _self_]\n", "0.05"),  # a zero in a file that it extends covers none
    ],
)
def test_a_users_own_rewards_may_use_packages(
    text: str, least: str, home: Path, environ: dict[str, str], keep: Any
) -> None:
    folder = home / "conf" / "rewards"
    folder.mkdir(parents=True)
    (folder / "inner.yaml").write_text("# @package _global_\nrewards: {min: 0.3}\n")
    (folder / "mine.yaml").write_text(text)
    keep({"min_reward": "0.05"})
    assert load(["rewards=mine"], environ=environ).rewards.min == least


@pytest.mark.parametrize(("choice", "least"), [(["any", "high"], "0.1"), (["high", "any"], "0")])
def test_several_rewards_count_in_their_order(
    choice: list[str], least: str, environ: dict[str, str], keep: Any
) -> None:
    keep({"min_reward": "0.05", "max_reward": "2"})
    settings = load([f"rewards=[{','.join(choice)}]"], environ=environ)
    assert (settings.rewards.min, settings.rewards.max) == (least, "0")


TEXTS = [
    "${home}",
    "it's",
    '"',
    "\\",
    "\\'",
    "a\\\\",
    "\\${x}",
    "a,b",
    "[1]",
    "{a: b}",
    "null",
    "1e3",
    " x ",
    "ü→",
    "$",
    "a=b",
    "#",
]


def test_text_is_never_syntax(environ: dict[str, str], keep: Any) -> None:
    paths = {f"set-{number}": text for number, text in enumerate(TEXTS)}
    keep({"paths": paths, "datasets": TEXTS})
    for settings in (load(environ=environ), load(["epochs=1"], environ=environ)):
        assert settings.paths == paths
        assert settings.datasets == TEXTS


def test_text_alone_is_never_syntax(environ: dict[str, str], keep: Any) -> None:
    keep({"keypair_path": "${home}", "data.folder": "a\\\\", "metrics.host": "null"})
    settings = load(environ=environ)
    assert (settings.wallet.keypair_path, settings.data.folder, settings.metrics.host) == ("${home}", "a\\\\", "null")


def own_preset(home: Path, text: str) -> None:
    folder = home / "conf" / "preset"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mine.yaml").write_text(text)


@pytest.mark.parametrize("overrides", [[], ["batch_size=8"]])
def test_a_users_own_preset(overrides: list[str], home: Path, environ: dict[str, str], keep: Any) -> None:
    own_preset(home, "# @package _global_\ndefaults:\n  - override /optimizer: sgd\nepochs: 3\nlearning_rate: 1e-2\n")
    keep({"preset": "mine"})
    found = composed(sources(overrides, environ=environ))
    assert (found.settings.epochs, found.settings.learning_rate) == (3, 0.01)
    assert found.settings.optimizer["momentum"] == 0.9
    shown = {entry.name: (entry.value, entry.origin) for entry in show(found)}
    assert (shown["optimizer"], shown["epochs"]) == (("sgd", "preset mine"), (3, "preset mine"))


def test_a_public_networks_storage_is_one_that_others_can_read(home: Path, environ: dict[str, str], keep: Any) -> None:
    """Unless another layer chooses one. The order of the two choices does not matter."""
    assert load(["network=mainnet"], environ=environ).storage.kind == "pinata"
    assert load(["network=devnet", "storage=embedded"], environ=environ).storage.kind == "embedded"
    own_preset(home, "# @package _global_\ndefaults:\n  - override /storage: kubo\n")
    assert load(["network=devnet", "preset=mine"], environ=environ).storage.kind == "kubo"
    keep({"storage": "kubo"})
    assert load(["network=devnet"], environ=environ).storage.kind == "kubo"
    keep({"network": "devnet"})
    assert load(environ=environ).storage.kind == "pinata"
    assert load(["network=local"], environ=environ).storage.kind == "embedded"


def test_a_preset_with_an_interpolation(home: Path, environ: dict[str, str], keep: Any) -> None:
    own_preset(home, "# @package _global_\nepochs: 2\nkeep: ${now:%Y}\n".replace("keep", "seed"))
    keep({"preset": "mine"})
    shown = origins(environ)
    assert shown["seed"][0] > 2000
    assert shown["epochs"] == (2, "preset mine")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("# @package _global_\nepoch: 3\n", "Did you mean 'epochs'?"),
        ("epochs: 3\n", "# @package _global_"),
        ("# @package _global_\nepochs: many\n", "epochs"),
        ("# @package _global_\nepochs: 0\n", "epochs must be at least 1"),
        ("# @package _global_\n\t- broken", "mine.yaml:2: invalid YAML"),
        ("# @package _global_\nprivate_key: abc\n", "Unknown setting 'private_key'."),
    ],
)
def test_a_users_preset_that_is_wrong(text: str, words: str, home: Path, environ: dict[str, str], keep: Any) -> None:
    own_preset(home, text)
    keep({"preset": "mine"})
    with pytest.raises(ConfigError) as caught:
        load(environ=environ)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("DECLOUD_EPOCHS", "many", 'DECLOUD_EPOCHS must be a whole number (got "many").'),
        ("DECLOUD_EPOCHS", "0", "epochs must be at least 1"),
        ("DECLOUD_AUTO_TRAIN", "maybe", "true or false"),
        ("DECLOUD_MIN_REWARD", "much", "'much' is not an amount in SOL"),
        ("DECLOUD_MAPPINGS", "custom", "pairs like custom:digits"),
        ("DECLOUD_NETWORK", "moonnet", "Unknown network 'moonnet'."),
        ("DECLOUD_PRESET", "quick-tst", "Did you mean 'quick-test'?"),
    ],
)
def test_a_wrong_variable_is_one_sentence(variable: str, value: str, words: str, environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(environ={**environ, variable: value})
    assert words in str(caught.value)


def test_a_wrong_value_in_config_json_is_one_sentence(environ: dict[str, str], keep: Any) -> None:
    keep({"min_reward": -1})
    with pytest.raises(ConfigError, match="'-1' is not an amount in SOL"):
        load(environ=environ)


def test_an_amount_never_passes_through_a_float(environ: dict[str, str], keep: Any) -> None:
    keep('{"min_reward": 123456789.123456789}')
    assert load(environ=environ).rewards.min_lamports == 123456789123456789


def test_a_preset_that_extends_another_in_its_own_package(home: Path, environ: dict[str, str]) -> None:
    own_preset(home, "# @package _global_\ndefaults:\n  - quick-test@_here_\n  - _self_\nseed: 1\n")
    assert origin("max_batches", environ, "preset=mine") == (50, "preset mine")


def test_an_experiment_that_chooses_a_preset(home: Path, environ: dict[str, str]) -> None:
    texts = {"experiment": "defaults:\n  - override /preset: mine\n", "preset": "epochs: 3\n"}
    for name, text in texts.items():
        file = home / "conf" / name / "mine.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(f"# @package _global_\n{text}")
    assert load(["experiment=mine"], environ=environ).trainer["max_epochs"] == 3


def test_the_stronger_file_wins_whichever_name_it_uses(home: Path, environ: dict[str, str]) -> None:
    for group, text in (("preset", "epochs: 3\n"), ("experiment", "trainer:\n  max_epochs: 5\n")):
        file = home / "conf" / group / "mine.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(f"# @package _global_\n{text}")
    settings = load(["preset=mine", "experiment=mine"], environ=environ)
    assert (settings.epochs, settings.trainer["max_epochs"]) == (5, 5)


def test_a_misspelt_variable_is_pointed_out(environ: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert load(environ={**environ, "DECLOUD_EPOCH": "2"}).epochs == 1
    assert "Did you mean 'DECLOUD_EPOCHS'?" in caplog.text


@pytest.mark.parametrize(
    "override", ["pinata_jwt=abc", "+private_key=abc", "storage.pinata_jwt=abc", "++wallet.private_key=a"]
)
def test_no_secret_on_the_command_line(override: str, environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="is a secret, so it is not allowed on a command line") as caught:
        load([override], environ=environ)
    assert "abc" not in str(caught.value)


def test_no_setting_of_the_users_gets_into_compose(keep: Any, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    keep({"epochs": 7})
    monkeypatch.setenv("DECLOUD_HOME", str(home))
    monkeypatch.setenv("DECLOUD_BATCH_SIZE", "7")
    alone, mine = compose(), load()
    assert (alone.epochs, alone.batch_size) == (1, 32)
    assert (mine.epochs, mine.batch_size) == (7, 7)


def test_callbacks_of_several_choices_add_up_in_every_layer(environ: dict[str, str], keep: Any) -> None:
    both = ["ema", "early_stopping"]
    keep({"callbacks": both})
    found = composed(sources(environ=environ))
    assert list(found.settings.callbacks or {}) == both
    assert ("callbacks", both, "config.json") in [(entry.name, entry.value, entry.origin) for entry in show(found)]
    variable = {**environ, "DECLOUD_CALLBACKS": "[swa,early_stopping]"}
    assert origin("callbacks", variable) == (["swa", "early_stopping"], "DECLOUD_CALLBACKS")
    assert origin("callbacks", variable, "callbacks=[ema,swa]") == (["ema", "swa"], "command line")
    with pytest.raises(ConfigError, match=r"Unknown callbacks 'emma'\. Did you mean 'ema'\?"):
        load(environ={**environ, "DECLOUD_CALLBACKS": "[emma]"})
    with pytest.raises(ConfigError, match=r"DECLOUD_OPTIMIZER must be the name .* \(got \[\"adam\", \"sgd\"\]\)"):
        load(environ={**environ, "DECLOUD_OPTIMIZER": "[adam,sgd]"})


@pytest.mark.parametrize("quote", ["'", '"'])
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        *[("PINATA_JWT", "eyJ0eXAi"), ("DECLOUD_PRIVATE_KEY", "5Kd3"), ("DECLOUD_NOTIFY_URLS", "json://127.0.0.1/KEY")],
        *[("DECLOUD_EPOCHS", "3"), ("DECLOUD_STORAGE", "kubo"), ("DECLOUD_DATASETS", "mnist,cifar10")],
        *[("DECLOUD_NETWORK_RPC_URL", "http://127.0.0.1:8899"), ("DECLOUD_HOME", "/srv/trainer")],
    ],
)
def test_quotes_from_an_env_file_are_named(variable: str, value: str, quote: str, environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=f"^{variable} has quotes around its value") as caught:
        sources(environ={**environ, variable: f"{quote}{value}{quote}"})
    assert value not in str(caught.value)


def test_json_text_is_a_value_of_a_setting_that_takes_any() -> None:
    assert from_text(find("trainer.precision"), '"16-mixed"', "--set trainer.precision") == "16-mixed"
