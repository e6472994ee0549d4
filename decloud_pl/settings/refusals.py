"""One sentence for whatever Hydra and OmegaConf refuse, with the nearest right name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from decloud_pl.errors import ConfigError
from decloud_pl.settings.layers import override_choices
from decloud_pl.settings.names import SWEEP, free_groups, groups, leaves, nearest, nested_types, tree_names
from decloud_pl.settings.plain_tree import NeedsHydra, choices, compose_plain
from decloud_pl.settings.schema import Tree
from decloud_pl.settings.values import wrong

_SWEEPS = "If it is joblib, submitit or optuna: pip install 'decloud_pl[sweeps]'"
_INSTALL = {"ray": "Install it: pip install 'decloud_pl[ray]' && pip install --no-deps hydra-ray-launcher"}


def explain(error: Exception, overrides: Sequence[str], folder: Path, user_conf: Path | None) -> ConfigError:
    """The sentence for overrides that Hydra refused.

    Args:
        error: Hydra's.
        overrides: in its grammar.
        folder: the built-in ``conf/``.
        user_conf: the user's.
    """
    said = str(error).strip()
    if said.startswith("Ambiguous value"):
        return ConfigError(
            f"There are several values in {said.splitlines()[0].rpartition('argument ')[2]}.",
            fix="Write a list like [1,2], or add -m to run one experiment for each.",
        )
    unreadable = getattr(error, "override", None)
    if isinstance(unreadable, str):
        return cannot_be_read(unreadable)
    missing = re.search(r"'hydra/(launcher|sweeper)/(\w+)'", said)
    if missing is not None:
        return ConfigError(f"Hydra has no {missing[1]} {missing[2]!r} here.", fix=_INSTALL.get(missing[2], _SWEEPS))
    if "'hydra." in said:
        return ConfigError(f"Hydra says: {_first_line(error)}.", fix="See python -m decloud_pl --hydra-help.")
    for override in overrides:
        refusal = _refusal(override, overrides, folder, user_conf)
        if refusal is not None:
            return refusal
    return ConfigError(f"The configuration cannot be used: {_first_line(error)}.", fix="Check the settings you gave.")


def check_choices(overrides: Sequence[str], folder: Path, user_conf: Path | None) -> None:
    """Refuses choices that no file of a group is; on values that are no names at all Hydra fails without a word.

    Raises:
        ConfigError: the first such one, with the nearest right one.
    """
    for override in overrides:
        key, equals, value = override.lstrip("+~").partition("=")
        named = value.strip("'\"")
        if key in (*groups(), SWEEP) and equals and named != "null" and not value.startswith("{"):
            known = choices(key, folder, user_conf)
            if named not in known:
                raise ConfigError(f"There is no {key} {named!r}.", fix=nearest(named, known))


def refuse_sweep(overrides: Sequence[str]) -> None:
    """Refuses a sweep where one thing only is to be run.

    Raises:
        ConfigError: one is chosen.
    """
    for override in overrides:
        key, equals, value = override.lstrip("+~").partition("=")
        if key == SWEEP and equals:
            raise ConfigError(f"sweep={value} is for sweeps.", fix=f"Run: python -m decloud_pl -m sweep={value}")


def cannot_be_read(override: str) -> ConfigError:
    """The sentence for an override that is not in Hydra's grammar."""
    key, _, value = override.partition("=")
    return ConfigError(f"The value of {key} cannot be read: {value}.", fix=f"Put it in quotes: {key}='\"…\"'.")


def no_setting(key: str, known: Sequence[str]) -> ConfigError:
    """The sentence for a key that does not exist."""
    return ConfigError(f"There is no setting {key!r}.", fix=nearest(key, known))


def wrong_value(error: Exception, plain: Mapping[str, Any]) -> ConfigError:
    """The sentence for a value of the wrong type.

    Args:
        error: OmegaConf's, which names the key.
        plain: the composed tree.
    """
    key = str(getattr(error, "full_key", "") or "")
    value: Any = plain
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    setting = leaves().get(key)
    if setting is None or value is None:
        return ConfigError(f"{_first_line(error)} ({key}).", fix="Correct the value of this key.")
    if setting.kind == "names":
        return ConfigError(f"{key} is {value!r}, which is no list.", fix=f"Write {key}=[{value}].")
    return wrong(setting, value, key)


def _refusal(override: str, overrides: Sequence[str], folder: Path, user_conf: Path | None) -> ConfigError | None:
    """What is wrong with one override; None when that is nothing a name could mend."""
    key = override.lstrip("+~").partition("=")[0]
    if key.startswith(("hydra.", "hydra/")) or key in groups():
        return None
    group, *rest = key.split(".")
    if group in free_groups() and rest:
        return None if override.startswith("+") else _not_in_choice(key, overrides, folder, user_conf)
    schema: type = Tree
    above = ""
    while rest and group in nested_types(schema):
        schema, above = nested_types(schema)[group], f"{above}{group}."
        group = rest.pop(0)
    known = [f"{above}{name}" for name in tree_names(schema)]
    return None if f"{above}{group}" in known else no_setting(key, known)


def _not_in_choice(key: str, overrides: Sequence[str], folder: Path, user_conf: Path | None) -> ConfigError | None:
    """The sentence for a key that the chosen file of a free group, for example ``trainer``, does not have."""
    folders = [folder] if user_conf is None else [folder, user_conf]
    try:
        node: Any = compose_plain(override_choices(overrides), *folders).tree
    except NeedsHydra:
        return None
    above = ""
    for part in key.split("."):
        known = [f"{above}{name}" for name in node] if isinstance(node, Mapping) else []
        if f"{above}{part}" not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"Did you mean {close[0]!r}? To" if close else "To"
            return ConfigError(f"There is no {key!r} in this configuration.", fix=f"{hint} add it, write +{key}=….")
        above, node = f"{above}{part}.", node[part]
    return None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
