"""`config` shows the settings in force, changes config.json and refuses invalid settings."""

from __future__ import annotations

import io
import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from decloud_pl.chain.wallet import create_wallet
from decloud_pl.cli.config.dataset_names import check_names
from decloud_pl.config import compose, load
from decloud_pl.daemon.assemble import make_policy
from decloud_pl.errors import ConfigError, DatasetError
from tests.data import tiny

SECRET = "0123456789abcdefghij"


def kept(home: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((home / "config.json").read_text())
    return found


def test_show_names_every_setting_and_its_origin(run: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("config", "--set", "epochs=3", "--set", f"pinata_jwt={SECRET}")
    monkeypatch.setenv("DECLOUD_BATCH_SIZE", "8")
    shown = run("config", "--show", "--origin", "--json", "rewards.min=0.5").document
    assert shown["path"] == str(home / "config.json")
    expected = {
        "epochs": (3, "config.json"),
        "batch_size": (8, "DECLOUD_BATCH_SIZE"),
        "min_reward": ("0.5", "command line"),
        "max_batches": (0, "built-in"),
        "pinata_jwt": ("0123…ghij", "config.json"),
        "private_key": (None, "built-in"),
    }
    found = {name: (shown["settings"][name], shown["origins"][name]) for name in expected}
    assert found == expected
    text = run("config", "--show", "--origin")
    assert run("config", "--origin").out == text.out
    assert SECRET not in text.out + text.err
    assert all(len(line) <= 80 for line in text.out.splitlines() if str(home) not in line)
    assert ["epochs", "3", "config.json"] in [line.split() for line in text.out.splitlines()]


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    """A folder with a tiny MNIST."""
    tiny.write("mnist", tmp_path / "data")
    return tmp_path / "data"


# The arguments of a command, and the settings that it saves in config.json.
SET: list[dict[str, tuple[str, object]]] = [
    {
        "keypair_path=~/k.json": ("keypair_path", "~/k.json"),
        "datasets=mnist, cifar10": ("datasets", ["mnist", "cifar10"]),
        "min_reward=0.05": ("min_reward", "0.05"),
        "max_reward=2": ("max_reward", "2"),
        "epochs=2": ("epochs", 2),
        "batch_size=64": ("batch_size", 64),
        "learning_rate=3e-4": ("learning_rate", 0.0003),
        "max_batches=50": ("max_batches", 50),
        "max_concurrent_rounds=2": ("max_concurrent_rounds", 2),
        "auto_train=no": ("auto_train", False),
        "auto_claim=FALSE": ("auto_claim", False),
        "poll_interval=2.5": ("poll_interval", 2.5),
        "mappings=custom:digits": ("mappings", {"custom": "digits"}),
        'paths={"mnist": "~/data"}': ("paths", {"mnist": "~/data"}),
        "network=devnet": ("network", "devnet"),
        "storage=embedded": ("storage", "embedded"),
        "preset=image-small": ("preset", "image-small"),
        "trainer.devices=2": ("trainer.devices", 2),
        "optimizer=sgd": ("optimizer", "sgd"),
    },
    {
        'datasets=["mnist"]': ("datasets", ["mnist"]),
        "rewards.min=0.05": ("min_reward", "0.05"),
        "network.rpc_url=http://127.0.0.1:1": ("network.rpc_url", "http://127.0.0.1:1"),
        "storage.fallback=": ("storage.fallback", []),
    },
]


@pytest.mark.parametrize("assignments", SET, ids=len)
def test_set_keeps_settings(
    assignments: dict[str, tuple[str, object]], run: Any, home: Path, mnist: Path, tmp_path: Path
) -> None:
    create_wallet(tmp_path / "k.json")
    assert run("config", *(word for text in assignments for word in ("--set", text))).code == 0
    expected = dict(assignments.values())
    found = kept(home)
    assert {name: found[name] for name in expected} == expected
    assert stat.S_IMODE((home / "config.json").stat().st_mode) == 0o600
    shown = run("config", "--json").document["settings"]
    assert {name: shown[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--set", "epoch=2"], 3, "Unknown setting 'epoch'. Did you mean 'epochs'?"),
        (["--set", "epochs"], 2, "--set 'epochs' has no value."),
        (["--set", "epochs=many"], 3, '--set epochs must be a whole number (got "many").'),
        (["--set", "epochs=0"], 3, "epochs must be at least 1 (got 0)."),
        (["--set", "learning_rate=nan"], 3, "must be a number (got "),
        (["--set", "metrics.host=\udcff"], 3, "metrics.host contains characters that are not UTF-8."),
        (["--add-mapping", "\udcff:digits"], 3, "mappings contains characters that are not UTF-8."),
        (["seed=" + "1" * 5_000], 3, "The number in seed has too many digits."),
        (["--set", "auto_train=maybe"], 3, "must be true or false (got "),
        (["--set", "min_reward=much"], 3, "'much' is not an amount in SOL"),
        (["--set", "min_reward=2", "--set", "max_reward=1"], 3, "max_reward is less than min_reward. Raise max_reward"),
        (["--show", "min_rewards=2"], 3, "Unknown setting 'min_rewards'. Did you mean 'min_reward'?"),
        (["--set", "lr=3"], 3, "Unknown setting 'lr'. Did you mean 'learning_rate'?"),
        (["lr=3"], 3, "Unknown setting 'lr'. Did you mean 'learning_rate'?"),
        (["timeout=3"], 3, "Unknown setting 'timeout'. Did you mean 'storage.timeout'?"),
        (["--set", "keypair_path=/there/is/none"], 3, "keypair_path: No private key found."),
        (["--set", "keypair_path=/etc/hostname"], 3, "keypair_path: "),
        (["--set", "paths=mnist:/there/is/none"], 3, "paths.mnist: The path of the data set mnist does not exist"),
        (["--set", "datasets=mnits"], 3, "datasets: unknown data set 'mnits'. Did you mean 'mnist'?"),
        (["--set", "home=/x"], 3, "Set DECLOUD_HOME in the environment."),
        (["--set", "private_key=abc"], 4, "Your input does not hold a private key."),
        (["--set", "pinata_jwt="], 3, "pinata_jwt is empty."),
        (["--set", "pinata_jwt=two words"], 3, "contains invalid characters"),
        (["--unset", "epoch"], 3, "Did you mean 'epochs'?"),
        (["--preset", "image-smal"], 3, "Unknown preset 'image-smal'. Did you mean 'image-small'?"),
        (["--add-mapping", "custom"], 2, "is not a pair. Example: --add-mapping custom:digits."),
        (["--add-mapping", "custom:digit"], 3, "Did you mean 'digits'?"),
        (["--add-path", "mnist"], 2, "is not a pair. Example: --add-path mnist:/data/mnist."),
        (["--add-path", "mnist:/there/is/none"], 3, "mnist does not exist: /there/is/none"),
        (["--add-path", "cifar10:~/empty"], 3, "empty has no supported data set."),
        (["--add-path", "custom:~/empty"], 3, "empty has no supported data set."),
        (["--add-path", "mnits:/"], 3, "Did you mean 'mnist'?"),
        (["--remove-mapping", "custom"], 3, "mappings has no entry 'custom'. Entries: none."),
        (["--remove-path", "mnist"], 3, "paths has no entry 'mnist'."),
        (["--show", "--reset"], 2, "--show and --reset cannot be used together."),
        (["--set", "epochs=2", "batch_size=3"], 2, "To save it, use --set batch_size=3."),
        (["--set", "epochs=2", "--keyring"], 2, "--keyring applies only to secrets, and epochs is not one."),
        (["--unset", "seed", "--keyring"], 2, "--keyring works only with --set."),
        (["--preset", "list", "--keyring"], 2, "--keyring works only with --set."),
        (["--unset", "seed", "--origin"], 2, "--origin works only with --show."),
    ],
)
def test_an_invalid_change_is_refused_with_one_message(
    arguments: list[str], code: int, words: str, run: Any, home: Path, tmp_path: Path
) -> None:
    before = b'{"version": 1, "seed": 5}'
    home.mkdir()
    (tmp_path / "empty").mkdir()
    (home / "config.json").write_bytes(before)
    (home / "config.json").chmod(0o600)
    ran = run("config", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert words in ran.err
    assert (home / "config.json").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "warned"),
    [
        ("proprietary_data", "the network does not have the data set 'proprietary_data' yet."),
        ("cifr10", "Did you mean 'cifar10'?"),
        ("custom", ""),
    ],
)
def test_any_name_can_be_mapped_and_an_unknown_one_gets_a_warning(name: str, warned: str, run: Any, home: Path) -> None:
    ran = run("config", "--add-mapping", f"{name}:mnist")
    assert ran.code == 0
    assert warned in ran.err
    assert bool(ran.err) is bool(warned)
    assert kept(home)["mappings"] == {name: "mnist"}
    assert run("config", "--set", "seed=1").err == (ran.err if "mean" in warned else ""), "warned once about a new name"


def test_the_documented_spelling_leads_to_the_name() -> None:
    settings = compose()
    for spelt, name in {"CIFAR-10": "cifar10", "Fashion-MNIST": "fashionmnist", "AG News": "agnews"}.items():
        settings.datasets = [spelt]
        with pytest.raises(ConfigError, match=f"Did you mean '{name}'?"):
            check_names(settings)


def test_a_round_finds_what_its_data_set_is_mapped_to(run: Any) -> None:
    """This network has no mappings, so only the user's apply."""
    names = ("custom", "food101", "proprietary_data")
    resolve = make_policy(load(["network=devnet"]), deposit=0).resolve
    for name in names:
        with pytest.raises(DatasetError, match=f"Map it with `decloud-trainer config --add-mapping {name}:NAME`"):
            resolve(name)
    run("config", *(f"--add-mapping={name}:digits" for name in names))
    resolve = make_policy(load(["network=devnet"]), deposit=0).resolve
    assert [resolve(name) for name in names] == ["digits"] * 3


def test_files_that_went_away_later_stand_in_no_other_settings_way(run: Any, home: Path) -> None:
    home.mkdir()
    (home / "config.json").write_text('{"keypair_path": "/gone/id.json", "paths": {"mnist": "/gone"}}')
    assert run("config", "--set", "epochs=2", "--add-mapping", "custom:digits").code == 0
    assert kept(home)["epochs"] == 2


def test_mappings_and_paths_come_and_go(run: Any, home: Path, mnist: Path) -> None:
    folder = mnist
    ran = run(
        "config",
        "--add-mapping",
        "custom:digits",
        "--add-mapping",
        "mnist:fashionmnist",
        "--add-path",
        f"mnist:{folder}",
    )
    assert ran.out.splitlines() == [
        "mappings.custom = digits",
        "mappings.mnist = fashionmnist",
        f"paths.mnist = {folder}",
    ]
    assert kept(home)["mappings"] == {"custom": "digits", "mnist": "fashionmnist"}
    assert kept(home)["paths"] == {"mnist": str(folder)}
    run("config", "--remove-mapping", "mnist", "--remove-path", "mnist")
    assert kept(home) == {"version": 1, "mappings": {"custom": "digits"}}


def test_unset_gives_the_built_in_value_back(run: Any, home: Path) -> None:
    run("config", "--set", "epochs=5", "--set", "seed=1")
    ran = run("config", "--unset", "epochs", "--json")
    assert ran.document["changed"] == [{"setting": "epochs", "now": None}]
    assert kept(home) == {"version": 1, "seed": 1}
    assert run("config", "--json").document["settings"]["epochs"] == 1


def test_unset_removes_a_setting_under_each_of_its_names(run: Any, home: Path) -> None:
    run("config", "--set", "trainer.max_epochs=5", "--set", "seed=1")
    assert run("config", "--unset", "epochs").code == 0
    assert kept(home) == {"version": 1, "seed": 1}
    ran = run("config", "--unset", "epochs")
    assert (ran.code, ran.out) == (3, "")
    assert "config.json does not set epochs." in ran.err


def test_a_relative_path_is_saved_as_an_absolute_one(
    run: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    create_wallet(tmp_path / "id.json")
    create_wallet(tmp_path / "keys" / "id.json")
    for settings, kept_as in (
        (
            ["keypair_path=keys/id.json", "data.folder=data", "storage.path=${home}/store"],
            [f"{tmp_path}/keys/id.json", f"{tmp_path}/data", "${home}/store"],
        ),
        (["keypair_path=~/id.json"], ["~/id.json"]),
    ):
        assert run("config", *(f"--set={setting}" for setting in settings)).code == 0
        assert [kept(home)[setting.partition("=")[0]] for setting in settings] == kept_as


def test_relative_paths_of_data_sets_are_saved_as_absolute_ones(
    run: Any, home: Path, mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.write("kmnist", tmp_path / "kmnist")
    (tmp_path / "reviews.csv").write_text("review,stars\ngood,1\nbad,0\n" * 20)
    paths = "imdb:./reviews.csv?text=review&label=stars,mnist:data,kmnist:~/kmnist"
    ran = run("config", "--set", f"paths={paths}")
    assert (ran.code, ran.err) == (0, "")
    assert kept(home)["paths"] == {
        "imdb": f"{tmp_path}/reviews.csv?text=review&label=stars",
        "mnist": str(mnist),
        "kmnist": "~/kmnist",
    }


def test_the_shown_form_of_a_value_can_be_typed(run: Any, home: Path) -> None:
    assignments = (
        "tune.rates=[0.3, 1, 3]",
        "callbacks=[lr_monitor,device_stats]",
        'trainer.limit_val_batches={"a": [1, true]}',
        "datasets=mnist,cifar10",
        "mappings=custom:digits,sst2:imdb",
        "auto_train=no",
        "trainer.precision=bf16-mixed",
    )
    lines = run("config", *(word for text in assignments for word in ("--set", text))).out.splitlines()
    printed = dict(line.split(" = ", maxsplit=1) for line in lines)
    rows = (line.split(maxsplit=1) for line in run("config", "--show").out.splitlines())
    shown = {row[0]: row[1] for row in rows if row and row[0] in printed}
    saved = kept(home)
    for typed in (printed, shown):
        (home / "config.json").unlink()
        assert run("config", *(word for name in printed for word in ("--set", f"{name}={typed[name]}"))).code == 0
        assert kept(home) == saved


def test_several_addresses_for_notifications(run: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = "json://127.0.0.1:1/one json://127.0.0.1:1/two"
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{addresses}\n"))
    assert run("config", "--set", "notify_urls=-").code == 0
    assert kept(home)["notify_urls"] == addresses
    monkeypatch.setattr(sys, "stdin", io.StringIO("a token\n"))
    assert "contains invalid characters, such as spaces" in run("config", "--set", "pinata_jwt=-").err


def test_a_secret_from_a_pipe_is_never_shown(run: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{SECRET}\nsecond line\n"))
    ran = run("config", "--set", "pinata_jwt=-")
    assert (ran.code, ran.out, ran.err) == (0, "pinata_jwt = 0123…ghij\n", "")
    assert kept(home)["pinata_jwt"] == SECRET


def test_a_secret_on_the_command_line_is_warned_of(run: Any) -> None:
    ran = run("config", "--set", f"pinata_jwt={SECRET}")
    assert "Your shell's history contains pinata_jwt" in ran.err
    assert SECRET not in ran.out + ran.err


def test_a_private_key_in_config_json_is_the_wallet(run: Any, tmp_path: Path) -> None:
    wallet = create_wallet(tmp_path / "id.json")
    run("config", "--set", f"private_key={(tmp_path / 'id.json').read_text()}")
    (tmp_path / "id.json").unlink()
    assert run("wallet", "address").out.strip() == str(wallet.address)


def test_reset_puts_the_file_aside(run: Any, home: Path) -> None:
    assert "All settings have their defaults" in run("config", "--reset").out
    home.mkdir(exist_ok=True)
    (home / "config.json").write_text("{ broken")
    assert run("config").code == 3
    assert run("config", "--reset", "--json").document["old"] == str(home / "config.json.old-1")
    assert run("config").code == 0
    assert (home / "config.json.old-1").read_text() == "{ broken"


# As documented: the data sets (any if empty) and the minimum reward in SOL.
PRESETS = {
    "image-all": (["cifar10", "cifar100", "mnist", "fashionmnist", "emnist", "kmnist", "svhn"], None),
    "image-small": (["mnist", "fashionmnist", "cifar10"], None),
    "text-all": (["imdb", "sst2", "agnews"], None),
    "cifar-only": (["cifar10", "cifar100"], None),
    "mnist-only": (["mnist", "fashionmnist", "emnist", "kmnist"], None),
    "high-reward": ([], "0.1"),
    "quick-test": (["cifar10", "mnist", "digits"], None),
    "none": (None, None),
}


def test_a_preset_shows_the_choice_that_sets_its_reward(run: Any, home: Path) -> None:
    (home / "conf" / "preset").mkdir(parents=True)
    for name, text in {"rich": "defaults:\n  - override /rewards: high\n", "broken": "a: ["}.items():
        (home / "conf" / "preset" / f"{name}.yaml").write_text(f"# @package _global_\n# Mine.\n{text}")
    rows = {row["name"]: row for row in run("config", "--preset", "list", "--json").document["presets"]}
    assert (rows["rich"]["min_reward"], rows["broken"]["about"]) == ("rewards=high", "cannot be read")


def test_presets_are_listed_and_kept(run: Any, home: Path) -> None:
    (home / "conf" / "preset").mkdir(parents=True)
    (home / "conf" / "preset" / "mine.yaml").write_text("# @package _global_\n# My own.\nepochs: 2\nmin_reward: 1\n")
    rows = {row["name"]: row for row in run("config", "--preset", "list", "--json").document["presets"]}
    assert rows["mine"] == {"name": "mine", "about": "My own.", "own": True, "datasets": None, "min_reward": None}
    assert rows["image-small"]["own"] is False
    assert all(row["about"] for row in rows.values())
    assert {name: (row["datasets"], row["min_reward"]) for name, row in rows.items() if not row["own"]} == PRESETS
    listed = [line.split() for line in run("config", "--preset", "list").out.splitlines()]
    assert ["mine", "-", "My", "own."] in listed
    assert ["high-reward", "0.1", "Rounds", "of", "0.1", "SOL", "or", "more,"] in [row[:8] for row in listed]
    assert ["mnist,", "fashionmnist,", "emnist,", "kmnist"] in listed
    # A Hydra file must use the place in the tree, not the plain name of a setting.
    assert "Unknown setting 'min_reward'" in run("config", "--preset", "mine").err
    (home / "conf" / "preset" / "mine.yaml").write_text("# @package _global_\nepochs: 2\n")
    assert run("config", "--preset", "mine").out == "preset = mine\n"
    assert run("config", "--json").document["settings"]["epochs"] == 2


def test_a_preset_that_config_json_covers_is_pointed_out(run: Any) -> None:
    run("config", "--set", "min_reward=0.5")
    ran = run("config", "--preset", "high-reward", "--json")
    assert ran.document["covered"] == ["min_reward"]
    assert "decloud-trainer config --unset min_reward" in ran.err


def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    script = tmp_path / "editor.py"
    script.write_text(f"import sys, pathlib\npath = pathlib.Path(sys.argv[1])\n{code}\n")
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", f"{sys.executable} {script}")


def test_edit_mends_a_broken_file(run: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.mkdir()
    (home / "config.json").write_text("{ broken")
    editor(tmp_path, monkeypatch, "assert path.stat().st_mode & 0o77 == 0\npath.write_text('{\"epochs\": 4}')")
    assert run("config", "--edit").code == 0
    assert kept(home) == {"epochs": 4}
    assert sorted(path.name for path in home.iterdir()) == [".config.json.lock", "config.json"]
    editor(tmp_path, monkeypatch, "")
    assert "Nothing was changed." in run("config", "--edit").out
    assert run("config", "--edit", "--json").document == {"path": str(home / "config.json"), "saved": False}
    editor(tmp_path, monkeypatch, "path.write_text('{\"epochs\": 5}')")
    assert run("config", "--edit", "--json").document == {"path": str(home / "config.json"), "saved": True}


def test_edit_keeps_the_old_file_when_the_new_one_is_wrong(
    run: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("config", "--set", "epochs=2")
    before = (home / "config.json").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    editor(tmp_path, monkeypatch, "path.write_text('{\"epoch\": 4}')")
    ran = run("config", "--edit")
    assert ran.code == 3
    assert "Your text is in" in ran.err
    assert (home / "config.json").read_bytes() == before
    (copy,) = home.glob("config-edit-*.json")
    assert json.loads(copy.read_text()) == {"epoch": 4}
    monkeypatch.setenv("EDITOR", "/there/is/none")
    assert "cannot be started" in run("config", "--edit").err
    monkeypatch.setenv("EDITOR", "false")
    assert "failed with exit code 1" in run("config", "--edit").err
    assert list(home.glob("config-edit-*.json")) == [copy]
