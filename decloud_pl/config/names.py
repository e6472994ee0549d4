"""Every setting by the name users write, derived from the types in `schema`.

A setting is a leaf of the tree (``epochs``, ``network.rpc_url``) or the choice of one of its groups (``storage``).
Some leaves have a plain name of their own (``min_reward`` for ``rewards.min``), and some values have two names: the
short one that users write, and the place in one of Lightning's nodes that it stands for.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, is_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from decloud_pl.config.schema import Tree
from decloud_pl.config_dir import conf_folders, config_dir
from decloud_pl.errors import ConfigError, nearest
from decloud_pl.ranges import AMOUNT, MAYBE_AMOUNT
from decloud_pl.secrets import SECRET_NAMES
from decloud_pl.store.registry import Registry, registry

KINDS: dict[str, tuple[str, tuple[type, ...], tuple[Any, ...]]] = {
    "switch": ("true or false", (bool,), (bool,)),
    "integer": ("a whole number", (int,), (int,)),
    "number": ("a number", (int, float), (float,)),
    "text": ("text", (str,), (str,)),
    "amount": (AMOUNT.words, (str, int, float), (Annotated[str, AMOUNT], Annotated[str, MAYBE_AMOUNT])),
    "names": ("a list of names like [mnist,cifar10]", (list,), (list[str],)),
    "table": ("pairs like custom:digits", (dict,), (dict[str, str],)),
    "choice": ("the name of a choice", (str, list), (dict[str, Any],)),
    "secret": ("text", (str,), ()),
    "any": ("a JSON value", (object,), ()),
}
"""Each kind of setting: the words for its values, their types in JSON, and the types that declare it in the schema."""
_KIND_OF_TYPE = {hint: kind for kind, (_, _, hints) in KINDS.items() for hint in hints}

SHORT = {
    "epochs": "trainer.max_epochs",
    "batch_size": "datamodule.batch_size",
    "learning_rate": "optimizer.lr",
    "max_batches": "trainer.limit_train_batches",
}
_FIT = ("compile", "data_memory_mb", "data_workers", "checkpoint_seconds", "publish_reserve_seconds")
OLD = {f"trainer.{name}": f"fit.{name}" for name in _FIT}
ALIASES = {**SHORT, **OLD}  # from a short or an old name to the place in the tree
ALL_BATCHES = 1.0
PLAIN_NAMES = {"wallet.keypair_path": "keypair_path", "rewards.min": "min_reward", "rewards.max": "max_reward"}
"""From the place in the tree to the name users write, where they differ."""
PRESET, EXPERIMENT, SWEEP, PACKAGES = "preset", "experiment", "sweep", "allow_packages"
OVER_ALL = (PRESET, EXPERIMENT)  # their files have no place of their own in the tree: they set what is in it

# `home` decides where config.json is; the others say what one run does.
_NOT_KEPT = ("home", "task", "round", "base_model", EXPERIMENT)


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting: the name users write, its place in the tree (or its name, outside of it), and its kind of values."""

    name: str
    path: str
    kind: str


def storages(home: Path | None) -> Registry:
    """The storage providers, those in a home folder's own conf/ included; what they say is part of the names below."""
    return registry(conf_folders(home))


def secret_names(home: Path | None) -> tuple[str, ...]:
    """The settings that are secrets; like `PACKAGES` they never enter the tree."""
    return (*storages(home).secrets, *SECRET_NAMES)


def leaves(home: Path | None = None) -> dict[str, Setting]:
    """Every leaf and group of the tree by its place, those that are not kept included."""
    return _places(storages(home))


@cache
def _places(providers: Registry) -> dict[str, Setting]:
    choices = {name: Setting(name, name, "choice") for name in OVER_ALL}
    found = [*_leaves(Tree, ""), *_leaves(providers.schema(), "storage.")]
    return {**choices, **{setting.path: setting for setting in found}}


def settings_by_name(home: Path | None = None) -> dict[str, Setting]:
    """Every setting that config.json and the environment can hold; ``home`` as for `storages`."""
    found = {name: Setting(name, name, "secret") for name in secret_names(home)}
    found[PACKAGES] = Setting(PACKAGES, PACKAGES, "names")
    return found | {setting.name: setting for path, setting in leaves(home).items() if path not in _NOT_KEPT}


@cache
def groups() -> tuple[str, ...]:
    """What ``GROUP=CHOICE`` can name."""
    return tuple(path for path, setting in leaves().items() if setting.kind == "choice")


@cache
def free_groups() -> tuple[str, ...]:
    """Groups whose keys are those of the class they name, for example ``trainer``."""
    return tuple(name for name, hint in typing.get_type_hints(Tree).items() if _plain(hint) == dict[str, Any])


def find(name: str, home: Path | None = None) -> Setting:
    """The setting of a name, or of a place in the tree; ``home`` as for `storages`.

    Raises:
        ConfigError: there is no such setting; the message names the nearest.
    """
    known = settings_by_name(home)
    setting = known.get(PLAIN_NAMES.get(name, name))
    if setting is not None:
        return setting
    group, _, rest = name.partition(".")
    if rest and group in free_groups():
        return Setting(name, name, "any")
    if name in _NOT_KEPT:
        raise ConfigError(
            f"{name} is not kept in config.json.",
            fix="Set DECLOUD_HOME in the environment." if name == "home" else f"Give {name}=… on the command line.",
        )
    raise no_setting(name, list(known))


def no_setting(name: str, known: Sequence[str]) -> ConfigError:
    """The refusal of a name that no setting has."""
    if name.rpartition(".")[2] == PACKAGES:
        return ConfigError(
            f"{PACKAGES} counts only in config.json or as DECLOUD_ALLOW_PACKAGES.",
            fix=f"Keep it with: decloud-trainer config --set {PACKAGES}=my_package",
        )
    short = {at: one for one, at in SHORT.items()}
    same = [repr(short.get(at, at)) for at in (*short, *leaves()) if f".{at}".endswith(f".{name.rpartition('.')[2]}")]
    hint = f"Did you mean {' or '.join(same)}?" if same else nearest(name, known)
    return ConfigError(f"There is no setting {name!r}.", fix=hint)


def to_place(name: str, value: Any) -> Any:
    """A value by its short name, or the text of an override, as Lightning has it: 0 batches are 1.0 of them, all."""
    if name != "max_batches" or isinstance(value, bool):
        return value
    if isinstance(value, str):  # the values of a sweep included
        return value if "range(" in value else re.sub(r"(?<![\w.+-])0(?![\w.])", str(ALL_BATCHES), value)
    return ALL_BATCHES if value == 0 else value


def choices(group: str, *folders: Path) -> list[str]:
    """The choices of a group, the built-in and the user's."""
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def _leaves(schema: type, prefix: str) -> Iterator[Setting]:
    for entry_name, declared in typing.get_type_hints(schema, include_extras=True).items():
        path = f"{prefix}{entry_name}"
        hint = _plain(declared)
        name = PLAIN_NAMES.get(path, path)
        if isinstance(hint, type) and is_dataclass(hint):
            if (config_dir() / path).is_dir():  # the others are written out in config.yaml
                yield Setting(name, path, "choice")
            yield from _leaves(hint, f"{path}.")
        elif entry_name != "_target_":  # which is a file's to say
            yield Setting(name, path, _KIND_OF_TYPE.get(declared, _KIND_OF_TYPE.get(hint, "any")))


def _plain(hint: Any) -> Any:
    """A type without its ranges and its ``None``."""
    if typing.get_origin(hint) is Annotated:
        hint = typing.get_args(hint)[0]
    rest = [part for part in typing.get_args(hint) if part is not type(None)]
    return rest[0] if typing.get_origin(hint) in (typing.Union, types.UnionType) and len(rest) == 1 else hint
