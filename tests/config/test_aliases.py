"""With two names for a value, the strongest layer wins with either name, and both names show the value."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml

from decloud_pl.cli.config.shown import show
from decloud_pl.config import Settings, compose, load
from decloud_pl.config.layers import sources
from decloud_pl.config.load import composed
from decloud_pl.errors import ConfigError

NAMES = {
    "epochs": "trainer.max_epochs",
    "batch_size": "datamodule.batch_size",
    "learning_rate": "optimizer.lr",
    "max_batches": "trainer.limit_train_batches",
}
OLD: dict[str, object] = {
    "trainer.compile": True,
    "trainer.data_memory_mb": 7,
    "trainer.data_workers": 3,
    "trainer.checkpoint_seconds": 5.0,
    "trainer.publish_reserve_seconds": 9.0,
}
LAYERS = ("preset", "config.json", "environment", "command line")
PAIRS = list(itertools.combinations(LAYERS, 2))


class User:
    """A user who sets values in each layer."""

    def __init__(self, home: Path, keep: Any) -> None:
        self._home, self._keep = home, keep
        self.kept: dict[str, object] = {}
        self.environ = {"DECLOUD_HOME": str(home)}
        self.overrides: list[str] = []

    def sets(self, layer: str, name: str, value: object) -> None:
        self.set_all(layer, {name: value})

    def set_all(self, layer: str, values: dict[str, Any]) -> None:
        if layer == "preset":
            folder = self._home / "conf" / "preset"
            folder.mkdir(parents=True, exist_ok=True)
            tree: dict[str, Any] = {}
            for name, value in values.items():
                group, dot, key = name.rpartition(".")
                (tree.setdefault(group, {}) if dot else tree)[key] = value
            (folder / "mine.yaml").write_text(f"# @package _global_\n{yaml.safe_dump(tree)}")
            self.kept["preset"] = "mine"
        elif layer == "config.json":
            self.kept |= values
        elif layer == "environment":
            self.environ |= {f"DECLOUD_{name.replace('.', '_').upper()}": str(value) for name, value in values.items()}
        else:
            self.overrides += [f"{name}={value}" for name, value in values.items()]
        self._keep(self.kept)

    def load(self) -> Settings:
        return load(self.overrides, environ=self.environ)


@pytest.fixture
def user(home: Path, keep: Any) -> User:
    return User(home, keep)


def both(settings: Settings, name: str) -> tuple[object, object]:
    group, _, key = NAMES[name].partition(".")
    return getattr(settings, name), getattr(settings, group)[key]


@pytest.mark.parametrize("short", [True, False])
def test_either_name_sets_the_value_in_the_weakest_layer(short: bool, user: User) -> None:
    user.set_all("preset", {name if short else place: 4 for name, place in NAMES.items()})
    settings = user.load()
    assert {name: both(settings, name) for name in NAMES} == dict.fromkeys(NAMES, (4, 4))


@pytest.mark.parametrize(("weak", "strong"), PAIRS)
def test_the_stronger_layer_wins(weak: str, strong: str, user: User) -> None:
    """For two of the values, the weak layer uses the short name; for the other two, the strong layer."""
    pairs = [
        pair if number % 2 else pair[::-1] for number, pair in enumerate(NAMES.items(), PAIRS.index((weak, strong)))
    ]
    user.set_all(weak, {name: 3 for name, _ in pairs})
    user.set_all(strong, {name: 6 for _, name in pairs})
    settings = user.load()
    assert {name: both(settings, name) for name in NAMES} == dict.fromkeys(NAMES, (6, 6))


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", NAMES)
def test_two_values_in_one_layer_are_refused(name: str, layer: str, user: User, home: Path) -> None:
    user.sets(layer, name, 3)
    if layer == "preset":
        group, _, key = NAMES[name].partition(".")
        file = home / "conf" / "preset" / "mine.yaml"
        file.write_text(f"{file.read_text()}{group}:\n  {key}: 4\n")
    else:
        user.sets(layer, NAMES[name], 4)
    with pytest.raises(ConfigError, match="names of the same value") as caught:
        user.load()
    assert name in str(caught.value)
    assert NAMES[name] in str(caught.value)


def test_nothing_was_given() -> None:
    settings = compose()
    assert settings.given == ()
    assert both(settings, "max_batches") == (0, 1.0)


def test_both_names_may_have_the_same_value(user: User) -> None:
    user.sets("command line", "epochs", 3)
    user.sets("command line", "trainer.max_epochs", 3)
    assert both(user.load(), "epochs") == (3, 3)


def test_what_a_short_name_cannot_show(user: User) -> None:
    user.sets("config.json", "trainer.limit_train_batches", 0.5)
    for given in (sources(environ=user.environ), sources(["trainer.limit_train_batches=0.25"], environ=user.environ)):
        found = composed(given)
        shown = {entry.name: (entry.value, entry.origin) for entry in show(found)}
        value, origin = (0.25, "command line") if given.overrides else (0.5, "config.json")
        assert both(found.settings, "max_batches") == (None, value)
        assert shown["max_batches"] == (None, origin)
        assert shown["trainer.limit_train_batches"] == (value, origin)
    with pytest.raises(ConfigError, match=r"trainer\.limit_train_batches must be .*\(got 0\)"):
        load(["trainer.limit_train_batches=0"], environ=user.environ)


@pytest.mark.parametrize("layer", LAYERS)
def test_old_names_of_the_packages_own_keys_and_all_batches_as_zero(layer: str, user: User) -> None:
    user.set_all(layer, {**OLD, "max_batches": 0})
    settings = user.load()
    assert both(settings, "max_batches") == (0, 1.0)
    for name, value in OLD.items():
        key = name.partition(".")[2]
        assert getattr(settings.fit, key) == value
        assert key not in settings.trainer


def test_an_old_trainer_of_the_users_own(home: Path, environ: dict[str, str]) -> None:
    file = home / "conf" / "trainer" / "mine.yaml"
    file.parent.mkdir(parents=True)
    old = "_target_: lightning.pytorch.Trainer\naccelerator: cpu\ncompile: true\ndata_workers: 4\n"
    file.write_text(old)
    settings = load(["trainer=mine", "epochs=3"], environ=environ)
    assert (settings.fit.compile, settings.fit.data_workers) == (True, 4)
    assert settings.trainer == {
        "_target_": "lightning.pytorch.Trainer",
        "accelerator": "cpu",
        "max_epochs": 3,
        "limit_train_batches": 1.0,
    }
    assert load(["trainer=mine", "trainer.data_workers=1"], environ=environ).fit.data_workers == 1
    file.write_text(f"defaults: [cpu, _self_]\n{old}")
    settings = load(["trainer=mine"], environ=environ)
    assert (settings.trainer["precision"], settings.fit.compile) == ("32-true", True)


def test_a_learning_rate_that_refers_to_itself(home: Path, environ: dict[str, str]) -> None:
    file = home / "conf" / "optimizer" / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("_target_: torch.optim.Adam\n_partial_: true\nlr: ${learning_rate}\n")
    with pytest.raises(ConfigError) as caught:
        load(["optimizer=mine"], environ=environ)
    assert str(caught.value) == (
        "optimizer.lr is ${learning_rate}, which refers to itself. "
        "Write a value instead of ${…}, for example lr: 0.001."
    )
    assert both(load(["optimizer=mine", "learning_rate=0.5"], environ=environ), "learning_rate") == (0.5, 0.5)


@pytest.mark.parametrize("overrides", [["epochs=${epochs}"], ["epochs=${batch_size}", "batch_size=${epochs}"]])
def test_values_that_refer_to_themselves(overrides: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"is \$\{\w+\}, which refers to itself\."):
        compose(overrides)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("trainer.max_epochs=-1", "trainer.max_epochs must be at least 1 (got -1)."),
        ("trainer.max_epochs=many", 'trainer.max_epochs must be a whole number (got "many").'),
        ("trainer.data_workers=-1", "trainer.data_workers must be at least 0 (got -1)."),
        ("max_batches=-1", "max_batches must be at least 0 (got -1)."),
    ],
)
def test_a_message_has_the_name_that_was_typed(override: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose([override])
    assert str(caught.value) == words


@pytest.mark.parametrize("layer", ["config.json", "environment", "command line"])
def test_a_conflict_shows_what_was_written(layer: str, user: User) -> None:
    user.sets(layer, "max_batches", 0)
    user.sets(layer, "trainer.limit_train_batches", 3)
    with pytest.raises(ConfigError, match=r"sets max_batches to 0 and trainer\.limit_train_batches to 3, but"):
        user.load()


def test_plain_names_on_the_command_line(user: User) -> None:
    user.sets("config.json", "min_reward", "0.1")
    user.sets("environment", "max_reward", "4")
    given = sources(["min_reward=0.3"], environ=user.environ)
    shown = {entry.name: (entry.value, entry.origin) for entry in show(composed(given))}
    assert shown["min_reward"] == ("0.3", "command line")
    assert shown["max_reward"] == ("4", "DECLOUD_MAX_REWARD")
    assert compose(["min_reward=1", "rewards.min=2"]).rewards.min == "2"
    assert compose(["rewards.min=1", "min_reward=2"]).rewards.min == "2"


def test_the_last_value_of_each_name_wins_on_a_command_line() -> None:
    assert both(compose(["epochs=2", "epochs=3", "trainer.max_epochs=3"]), "epochs") == (3, 3)
    assert both(compose(["trainer={max_epochs:5}", "epochs=5"]), "epochs") == (5, 5)
    with pytest.raises(ConfigError, match=r"sets trainer\.max_epochs to 5 and epochs to 2, but"):
        compose(["trainer={max_epochs:5}", "epochs=2"])


def test_an_old_name_has_no_row_of_its_own(user: User) -> None:
    user.sets("config.json", "trainer.compile", True)
    shown = {entry.name: (entry.value, entry.origin) for entry in show(composed(sources(environ=user.environ)))}
    assert shown["fit.compile"] == (True, "config.json")
    assert "trainer.compile" not in shown


def test_an_optimizer_without_a_rate(home: Path, environ: dict[str, str]) -> None:
    file = home / "conf" / "optimizer" / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("_target_: my_package.Free\n")
    assert load(["optimizer=mine"], environ=environ).learning_rate is None
    with pytest.raises(ConfigError, match=r"no key 'optimizer\.lr'\. Its short name is learning_rate"):
        load(["optimizer=mine", "learning_rate=0.1"], environ=environ)


def test_short_names_stay_when_the_choice_changes(user: User) -> None:
    """`learning_rate` in config.json applies to every optimizer, but a rate set for one optimizer only to that one."""
    user.sets("config.json", "optimizer", "adamw")
    user.sets("config.json", "learning_rate", 0.5)
    assert load(["optimizer=sgd"], environ=user.environ).optimizer["lr"] == 0.5
    del user.kept["learning_rate"]
    user.sets("config.json", "optimizer.lr", 0.5)
    assert load(environ=user.environ).learning_rate == 0.5
    assert load(["optimizer=sgd"], environ=user.environ).learning_rate == 0.001


def test_what_was_given_is_named_as_lightning_does(user: User) -> None:
    user.sets("preset", "epochs", 2)
    user.set_all("config.json", {"learning_rate": 0.5, "min_reward": "0.1"})
    user.sets("environment", "batch_size", 8)
    user.set_all("command line", {"scheduler": "cosine", "trainer.compile": "true"})
    given = ("datamodule.batch_size", "fit.compile", "optimizer.lr", "scheduler", "trainer.max_epochs")
    assert user.load().given == given


def test_the_keys_in_a_file_of_the_user_were_given_too(home: Path, environ: dict[str, str], keep: Any) -> None:
    """The user's files may extend other files. Those of the package have default values."""
    for name, text in {
        "datamodule/mine": "defaults:\n  - base\n  - _self_\naugment:\n  shift: 2\n",
        "datamodule/base": "defaults:\n  - default\n  - _self_\nbatch_size: 32\n",
        "callbacks/diary": "diary:\n  _target_: my.Diary\n",
        "module/classifier": "dropout: 0.5\n",  # Hydra takes the packaged file of this name
    }.items():
        file = home / "conf" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    keep({"datamodule": "mine"})
    found = load(["trainer=cpu", "module=classifier", "callbacks=[ema,diary]"], environ=environ)
    assert found.module["dropout"] is None
    keys = ("callbacks.diary._target_", "datamodule.augment.shift", "datamodule.batch_size")
    assert found.given == tuple(sorted((*keys, "callbacks", "datamodule", "module", "trainer")))


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("defaults: [base@_here_, _self_]\nprecision: 32-true\n", ("trainer.max_epochs", "trainer.precision")),
        ("# @package _global_\ndefaults: [override /optimizer: sgd, _self_]\nseed: 1\n", ("optimizer", "seed")),
        (
            "# @package _global_\ndefaults: [base@trainer, _self_]\ndatasets: [mnist]\ntrainer: {precision: 32-true}\n",
            ("trainer.max_epochs", "trainer.precision"),
        ),
    ],
)
def test_the_keys_in_a_file_with_packages_were_given_under_their_places(
    text: str, keys: tuple[str, ...], home: Path, environ: dict[str, str]
) -> None:
    folder = home / "conf" / "trainer"
    folder.mkdir(parents=True)
    (folder / "base.yaml").write_text("defaults: [default, _self_]\nmax_epochs: 3\n")
    (folder / "mine.yaml").write_text(text)
    assert load(["trainer=mine"], environ=environ).given == tuple(sorted(("trainer", *keys)))


def test_choices_of_a_preset_were_given_too(home: Path, environ: dict[str, str], keep: Any) -> None:
    file = home / "conf" / "preset" / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("# @package _global_\ndefaults:\n  - override /optimizer: sgd\nseed: 3\n")
    keep({"preset": "mine"})
    assert load(environ=environ).given == ("optimizer", "seed")
    assert load(["experiment=digits"], environ={}).given == ("dataset", "trainer", "trainer.max_epochs")
