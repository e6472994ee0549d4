"""Every setting by the name users write, derived from the types in `schema`.

A setting is a leaf of the tree (``epochs``, ``network.rpc_url``) or the choice of one of its groups
(``storage``). Some leaves have a plain name of their own (``min_reward`` for ``rewards.min``).
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any, Literal

from decloud_pl.config_dir import config_dir
from decloud_pl.errors import ConfigError
from decloud_pl.settings.schema import Tree
from decloud_pl.settings.secrets import SECRET_NAMES

Kind = Literal["text", "integer", "number", "switch", "amount", "names", "table", "choice", "secret", "any"]

PLAIN_NAMES = {"keypair_path": "wallet.keypair_path", "min_reward": "rewards.min", "max_reward": "rewards.max"}
"""From the name users write to the place in the tree, where they differ."""

MAIN = (
    "private_key",
    "keypair_path",
    "preset",
    "network",
    "storage",
    "datasets",
    "min_reward",
    "max_reward",
    "epochs",
    "batch_size",
    "learning_rate",
    "max_batches",
    "max_concurrent_rounds",
    "auto_train",
    "auto_claim",
    "poll_interval",
    "mappings",
    "paths",
    "pinata_api_key",
    "pinata_secret_key",
    "pinata_jwt",
)
"""The settings that most users meet, in the order in which they are shown."""

SWEEP = "sweep"
"""The group of complete sweeps. It is no part of the tree: a file of it sets what others are for."""

# `home` decides where config.json is; the others say what one run does.
_NOT_KEPT = ("home", "task", "round", "base_model")
_AMOUNTS = ("rewards.min", "rewards.max", "rewards.sol_per_kwh", "chain.daily_cap", "notify.low_balance")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        name: what users write in config.json, after ``--set`` and in the environment.
        path: its place in the tree; for a choice the group, for a secret nothing.
        kind: what values it takes.
        optional: whether ``null`` is one of them.
    """

    name: str
    path: str
    kind: Kind
    optional: bool = False


@cache
def settings_by_name() -> dict[str, Setting]:
    """Every setting that config.json and the environment can hold, the main ones first."""
    plain = {path: name for name, path in PLAIN_NAMES.items()}
    found = {name: Setting(name, "", "secret") for name in SECRET_NAMES}
    for path, kind, optional in _leaves(Tree, ""):
        if path not in _NOT_KEPT:
            name = plain.get(path, path)
            found[name] = Setting(name, path, kind, optional)
    order = {name: index for index, name in enumerate(MAIN)}
    return {name: found[name] for name in sorted(found, key=lambda name: order.get(name, len(order)))}


@cache
def groups() -> tuple[str, ...]:
    """The tree's groups: what ``GROUP=CHOICE`` can name."""
    return tuple(setting.name for setting in settings_by_name().values() if setting.kind == "choice")


def find(name: str) -> Setting:
    """The setting of a name, or of a place in the tree.

    Raises:
        ConfigError: there is none; the message names the nearest.
    """
    known = settings_by_name()
    plain = {path: plain_name for plain_name, path in PLAIN_NAMES.items()}
    setting = known.get(plain.get(name, name))
    if setting is not None:
        return setting
    group, _, rest = name.partition(".")
    if rest and group in free_groups():
        return Setting(name, name, "any", optional=True)
    if name in _NOT_KEPT:
        raise ConfigError(
            f"{name} is not kept in config.json.",
            fix="Set DECLOUD_HOME in the environment." if name == "home" else f"Give {name}=… on the command line.",
        )
    raise ConfigError(f"There is no setting {name!r}.", fix=nearest(name, list(known)))


@cache
def leaves() -> dict[str, Setting]:
    """Every leaf of the tree by its place, those that are not kept included."""
    return {path: Setting(path, path, kind, optional) for path, kind, optional in _leaves(Tree, "")}


@cache
def free_groups() -> tuple[str, ...]:
    """Groups whose keys are those of whatever class they name, for example ``trainer``."""
    hints = typing.get_type_hints(Tree)
    return tuple(name for name, hint in hints.items() if _without_none(hint)[0] == dict[str, Any])


@cache
def nested_types(schema: type = Tree) -> dict[str, type]:
    """The groups with fields of their own, by name: the tree's, or those within a group."""
    hints = typing.get_type_hints(schema)
    return {name: hint for name, hint in hints.items() if isinstance(hint, type) and is_dataclass(hint)}


def tree_names(schema: type = Tree) -> list[str]:
    """The names of a group's fields, or of the tree's."""
    return [entry.name for entry in fields(schema)]


def nearest(word: str, known: Sequence[str]) -> str:
    """A phrase that names the known word nearest to ``word``, or lists them all."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(sorted(known))}."


def _leaves(schema: type, prefix: str) -> Iterator[tuple[str, Kind, bool]]:
    hints = typing.get_type_hints(schema)
    for entry in fields(schema):
        path = f"{prefix}{entry.name}"
        hint, optional = _without_none(hints[entry.name])
        if isinstance(hint, type) and is_dataclass(hint):
            if _has_choices(path):
                yield path, "choice", False
            yield from _leaves(hint, f"{path}.")
        else:
            yield path, _kind(path, hint), optional


def _has_choices(group: str) -> bool:
    """Whether a group is a folder of ``conf/``; the others are written out in config.yaml."""
    return (config_dir() / group).is_dir()


def _kind(path: str, hint: Any) -> Kind:
    kinds: dict[Any, Kind] = {
        bool: "switch",
        int: "integer",
        float: "number",
        str: "amount" if path in _AMOUNTS else "text",
        list[str]: "names",
        dict[str, str]: "table",
        dict[str, Any]: "choice",
    }
    return kinds.get(hint, "any")


def _without_none(hint: Any) -> tuple[Any, bool]:
    """A type without its ``None``, and whether it had one."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        rest = [part for part in typing.get_args(hint) if part is not type(None)]
        if len(rest) == 1:
            return rest[0], True
    return hint, False
