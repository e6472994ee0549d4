"""Composing without Hydra, for commands that must answer at once.

Hydra's import alone takes 230 ms. What ``conf/`` and most presets use of it is little: a defaults list with one
choice for each group, one file on top of the others, and ``${key}`` interpolations. That is done here; for
anything else `NeedsHydra` is raised and the caller lets Hydra do it. A test holds both to the same result.
"""

from __future__ import annotations

import os
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from decloud_pl.settings.names import Setting, groups, nested_types
from decloud_pl.settings.schema import Tree

PRESET = "preset"
T = TypeVar("T")
_INTERPOLATION = re.compile(r"\$\{([^${}]*)\}")
_GLOBAL = re.compile(r"^#\s*@package\s+_global_\s*$", re.MULTILINE)
_PACKAGE = re.compile(r"^#\s*@package\b", re.MULTILINE)
# OmegaConf reads 1e-3 as a number; YAML 1.1 wants 1.0e-3.
_FLOAT = re.compile(r"[-+]?(\d[\d_]*\.[\d_]*([eE][-+]?\d+)?|\d[\d_]*[eE][-+]?\d+|\.\d[\d_]*([eE][-+]\d+)?|\.(inf|nan))")


class NeedsHydra(Exception):
    """Only Hydra can compose this, or say what is wrong with it."""


@dataclass(frozen=True)
class Composed:
    """``conf/`` with choices made and nothing overridden.

    Attributes:
        tree: plain values, interpolations unresolved.
        preset: the leaves (with dots) and groups that the preset has set.
        choices: the choice of each group.
    """

    tree: dict[str, Any]
    preset: frozenset[str]
    choices: dict[str, str]

    def in_preset(self, setting: Setting) -> bool:
        """Whether the preset says something of a setting."""
        inside = setting.kind == "table" and any(key.startswith(f"{setting.path}.") for key in self.preset)
        return inside or setting.path in self.preset


def compose_plain(chosen: Mapping[str, str], *folders: Path) -> Composed:
    """Reads the files that the choices name.

    Args:
        chosen: group → choice, over those of the defaults list.
        folders: the built-in ``conf/`` first, then the user's.

    Raises:
        NeedsHydra: something here is beyond this function.
    """
    main, _ = _read(folders[0] / "config.yaml")
    defaults = main.pop("defaults", [])
    main.pop("hydra", None)
    selected: dict[str, str] = {}
    for entry in defaults:
        if entry == "_self_":
            continue
        if not (isinstance(entry, dict) and len(entry) == 1 and set(entry) <= set(groups())):
            raise NeedsHydra
        selected.update(entry)
    if list(selected)[-1:] != [PRESET] or set(chosen) - set(selected):
        raise NeedsHydra
    selected.update(chosen)
    preset, in_root = _read(_file(folders, PRESET, selected[PRESET]))
    by_preset = {key: value for key, value in _overridden(preset).items() if key not in chosen}
    selected.update(by_preset)
    tree: dict[str, Any] = {}
    for group, choice in selected.items():
        if group != PRESET:
            tree[group], elsewhere = _read(_file(folders, group, choice))
            if elsewhere or "defaults" in tree[group]:
                raise NeedsHydra
    _merge(tree, main)
    if preset and not in_root:
        raise NeedsHydra
    _merge(tree, preset)
    return Composed(tree, frozenset((*by_preset, *_leaf_keys(preset))), selected)


def choices(group: str, *folders: Path | None) -> list[str]:
    """The choices of a group, the built-in and the user's."""
    return sorted({path.stem for folder in folders if folder is not None for path in (folder / group).glob("*.yaml")})


def assign(tree: dict[str, Any], path: str, value: Any) -> None:
    """Sets one value of a composed tree; a mapping adds to the one that is there."""
    *above, last = path.split(".")
    for key in above:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise NeedsHydra
    if isinstance(value, dict) and isinstance(tree.get(last), dict):
        tree[last] = {**tree[last], **value}
    else:
        tree[last] = value


def resolve(tree: dict[str, Any], environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The tree with its interpolations resolved.

    Raises:
        NeedsHydra: one that is neither ``${key}`` nor ``${oc.env:NAME}``.
    """

    def lookup(key: str, depth: int) -> Any:
        if depth > 20:
            raise NeedsHydra
        name, colon, rest = key.partition(":")
        if colon:
            variable, comma, default = rest.partition(",")
            if name != "oc.env" or (variable not in environ and not comma):
                raise NeedsHydra
            return environ.get(variable, default.strip().strip("'\""))
        value: Any = tree
        for part in key.split("."):
            if not isinstance(value, dict) or part not in value:
                raise NeedsHydra
            value = value[part]
        return resolved(value, depth + 1)

    def resolved(value: Any, depth: int) -> Any:
        if isinstance(value, dict):
            return {key: resolved(item, depth) for key, item in value.items()}
        if isinstance(value, list):
            return [resolved(item, depth) for item in value]
        if isinstance(value, Literal) or not isinstance(value, str) or "${" not in value:
            return value
        if "\\" in value:
            raise NeedsHydra
        whole = _INTERPOLATION.fullmatch(value)
        if whole:
            return lookup(whole[1], depth)
        text = _INTERPOLATION.sub(lambda found: str(lookup(found[1], depth)), value)
        if "${" in text:
            raise NeedsHydra
        return text

    return {key: resolved(value, 0) for key, value in tree.items()}


class Literal(str):
    """Text of a user, in which ``${`` has no meaning."""

    __slots__ = ()


def to_tree(plain: Mapping[str, Any]) -> Tree:
    """The tree as its dataclass, types converted as OmegaConf does.

    Raises:
        NeedsHydra: a key or a value that does not fit; Hydra has the words for it.
    """
    return _structured(Tree, plain)


def _structured(schema: type[T], plain: Mapping[str, Any]) -> T:
    hints = typing.get_type_hints(schema)
    if set(plain) - {entry.name for entry in fields(schema)}:  # type: ignore[arg-type]  # always a dataclass
        raise NeedsHydra
    nested = nested_types(schema)  # type: ignore[arg-type]  # a type is hashable
    values = {
        key: _structured(nested[key], value) if key in nested else _converted(hints[key], value)
        for key, value in plain.items()
    }
    return schema(**values)


def _converted(hint: Any, value: Any) -> Any:
    """A value as OmegaConf would convert it; anything doubtful is left to it."""
    arguments = typing.get_args(hint)
    if value is None and type(None) in arguments:
        return None
    if type(None) in arguments:
        (hint,) = (part for part in arguments if part is not type(None))
        arguments = typing.get_args(hint)
    number = type(value) in (int, float)
    if hint is str and (number or isinstance(value, str)):
        return str(value)
    if hint is float and number:
        return float(value)
    if hint in (int, bool) and type(value) is hint:
        return value
    origin = typing.get_origin(hint)
    if origin is list and isinstance(value, list):
        return [_converted(arguments[0], item) for item in value]
    if origin is dict and isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _converted(arguments[1], item) for key, item in value.items()}
    if hint is Any:
        return str(value) if isinstance(value, Literal) else value
    raise NeedsHydra


def _file(folders: tuple[Path, ...], group: str, choice: str) -> Path:
    for folder in folders:
        path = folder / group / f"{choice}.yaml"
        if path.is_file():
            return path
    raise NeedsHydra


def _read(path: Path) -> tuple[dict[str, Any], bool]:
    """A file's values, and whether its header puts them at the top of the tree."""
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML as OmegaConf reads it."""

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.load(text, Loader)  # noqa: S506 (a SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        raise NeedsHydra from None
    in_root = _GLOBAL.search(text) is not None
    if not (tree is None or isinstance(tree, dict)) or (_PACKAGE.search(text) and not in_root):
        raise NeedsHydra
    return dict(tree or {}), in_root


def _overridden(preset: dict[str, Any]) -> dict[str, str]:
    """The choices a preset makes with ``override /group: choice``."""
    found: dict[str, str] = {}
    for entry in preset.pop("defaults", []):
        if entry == "_self_":
            continue
        (key, choice) = next(iter(entry.items())) if isinstance(entry, dict) and len(entry) == 1 else ("", "")
        group = key.removeprefix("override /")
        if group == key or group not in groups() or not isinstance(choice, str):
            raise NeedsHydra
        found[group] = choice
    return found


def _merge(tree: dict[str, Any], above: Mapping[str, Any]) -> None:
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            tree[key] = value


def _leaf_keys(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for key, value in tree.items():
        found += _leaf_keys(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]
    return found
