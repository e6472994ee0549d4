"""The names of all settings, derived from the types in `schema`.

A setting is a leaf of the settings tree, such as ``network.rpc_url``, or the choice of a group, such as ``storage``.
Its place is its dotted path in the tree. Users write the place as the setting's name, except for the settings in
`PLAIN`: ``rewards.min``, for example, has the name ``min_reward``.

The leaves in `SHORT` are aliases of other settings. For example, ``epochs`` and ``trainer.max_epochs`` set the same
value.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
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
"""For each kind of setting: what completes "must be …", its types in JSON, and its types in the schema."""
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
PLAIN = {"keypair_path": "wallet.keypair_path", "min_reward": "rewards.min", "max_reward": "rewards.max"}
PLAIN_NAMES = {place: name for name, place in PLAIN.items()}
PLACES = {**ALIASES, **PLAIN}  # from any name that differs from its place in the tree to that place
PRESET, EXPERIMENT, SWEEP, PACKAGES = "preset", "experiment", "sweep", "allow_packages"
OVER_ALL = (PRESET, EXPERIMENT)  # groups without a node of their own: their files set values anywhere in the tree

# `home` determines where config.json is. The others apply to a single run.
_NOT_KEPT = ("home", "task", "round", "base_model", EXPERIMENT)


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting.

    Attributes:
        name: the name that users write.
        path: the dotted path in the composed configuration. For a setting that is not part of it, the same as ``name``.
        kind: a key of `KINDS`.
    """

    name: str
    path: str
    kind: str


def storages(home: Path | None) -> Registry:
    """Return the storage providers, including those in a home folder's ``conf/``. Each may define further settings."""
    return registry(conf_folders(home))


def secret_names(home: Path | None) -> tuple[str, ...]:
    """Return the names of the secrets. Like `PACKAGES`, they are not part of the tree."""
    return (*storages(home).secrets, *SECRET_NAMES)


def leaves(home: Path | None = None) -> dict[str, Setting]:
    """Return every leaf and group of the tree by its place, including those that config.json cannot contain."""
    return _places(storages(home))


@cache
def _places(providers: Registry) -> dict[str, Setting]:
    choices = [Setting(name, name, "choice") for name in OVER_ALL]
    found = [*choices, *_leaves(Tree, ""), *_leaves(providers.schema(), "storage.")]
    return {setting.path: setting for setting in found}


def settings_by_name(home: Path | None = None) -> dict[str, Setting]:
    """Return every setting that config.json and the environment can contain, by the name that users write.

    ``home`` is the home folder whose ``conf/`` may add storage providers and their settings.
    """
    found = {name: Setting(name, name, "secret") for name in secret_names(home)}
    found[PACKAGES] = Setting(PACKAGES, PACKAGES, "names")
    return found | {setting.name: setting for path, setting in leaves(home).items() if path not in _NOT_KEPT}


@cache
def groups() -> tuple[str, ...]:
    """Return the place of every group in the tree."""
    return tuple(path for path, setting in leaves().items() if setting.kind == "choice")


@cache
def free_groups() -> tuple[str, ...]:
    """Return the groups without fixed keys, such as ``trainer``, whose keys are the arguments of a class."""
    return tuple(name for name, hint in typing.get_type_hints(Tree).items() if _plain(hint) == dict[str, Any])


def find(name: str, home: Path | None = None) -> Setting:
    """Return the setting with the given name, or at the given place in the tree.

    ``home`` is the home folder whose ``conf/`` may add storage providers and their settings.

    Raises:
        ConfigError: the setting is unknown; the message suggests the nearest one.
    """
    known = settings_by_name(home)
    setting = known.get(PLAIN_NAMES.get(name, name))
    if setting is not None:
        return setting
    group, _, rest = name.partition(".")
    if rest and group in free_groups():
        return Setting(name, name, "any")
    if name in _NOT_KEPT:
        fix = "Set DECLOUD_HOME in the environment." if name == "home" else f"Write {name}=… on the command line."
        raise ConfigError(f"config.json cannot contain {name}.", fix=fix)
    raise no_setting(name, list(known))


def no_setting(name: str, known: Sequence[str]) -> ConfigError:
    """Return the error for an unknown setting."""
    if name.rpartition(".")[2] == PACKAGES:
        fix = f"Run: decloud-trainer config --set {PACKAGES}=my_package"
        return ConfigError(f"{PACKAGES} can be set only in config.json or as DECLOUD_ALLOW_PACKAGES.", fix=fix)
    short = {at: one for one, at in SHORT.items()}
    same = [repr(short.get(at, at)) for at in (*short, *leaves()) if f".{at}".endswith(f".{name.rpartition('.')[2]}")]
    hint = f"Did you mean {' or '.join(same)}?" if same else nearest(name, known)
    return ConfigError(f"Unknown setting {name!r}.", fix=hint)


def names_of(name: str, used: Iterable[str]) -> list[str]:
    """Return those of the ``used`` names that mean the same setting as ``name``, such as ``trainer.max_epochs``."""
    return [other for other in used if PLACES.get(other, other) == PLACES.get(name, name)]


def to_place(name: str, value: Any) -> Any:
    """Convert the value that a user gave for a setting to the value at the setting's place in the tree.

    Only ``max_batches`` is converted: 0 means all batches, for which Lightning expects 1.0. ``value`` may also be the
    text of an override. In a sweep, this text may contain several values, and each 0 in it is converted.
    """
    if name != "max_batches" or isinstance(value, bool):
        return value
    if isinstance(value, str):  # can be the values of a sweep
        return value if "range(" in value else re.sub(r"(?<![\w.+-])0(?![\w.])", str(ALL_BATCHES), value)
    return ALL_BATCHES if value == 0 else value


def choices(group: str, *folders: Path) -> list[str]:
    """Return the choices of a group in the given folders."""
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def _leaves(schema: type, prefix: str) -> Iterator[Setting]:
    for entry_name, declared in typing.get_type_hints(schema, include_extras=True).items():
        path = f"{prefix}{entry_name}"
        hint = _plain(declared)
        name = PLAIN_NAMES.get(path, path)
        if isinstance(hint, type) and is_dataclass(hint):
            if (config_dir() / path).is_dir():  # other nodes are in config.yaml and have no choices
                yield Setting(name, path, "choice")
            yield from _leaves(hint, f"{path}.")
        elif entry_name != "_target_":  # only the file of a choice sets it
            yield Setting(name, path, _KIND_OF_TYPE.get(declared, _KIND_OF_TYPE.get(hint, "any")))


def _plain(hint: Any) -> Any:
    """Return a type hint without its ranges and without ``None``."""
    if typing.get_origin(hint) is Annotated:
        hint = typing.get_args(hint)[0]
    rest = [part for part in typing.get_args(hint) if part is not type(None)]
    return rest[0] if typing.get_origin(hint) in (typing.Union, types.UnionType) and len(rest) == 1 else hint
