"""Turn errors of Hydra and OmegaConf, and values out of range, into a `ConfigError` with a hint."""

from __future__ import annotations

import difflib
import re
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, cast

from omegaconf import OmegaConf

from decloud_pl.config.group_files import leaves_of
from decloud_pl.config.layers import Sources
from decloud_pl.config.names import ALIASES, OVER_ALL, SWEEP, choices, free_groups, groups, leaves, no_setting
from decloud_pl.config.schema import Settings
from decloud_pl.config.values import wrong
from decloud_pl.errors import ConfigError, first_line, nearest
from decloud_pl.ranges import declared
from decloud_pl.trainer_arguments import check_trainer

if TYPE_CHECKING:
    from omegaconf import DictConfig

_RAY = "Install it: pip install 'decloud_pl[ray]' && pip install --no-deps hydra-ray-launcher"
# Patterns of Hydra's messages, each with the message and the fix that replace it.
_SENTENCES = {
    r"Ambiguous value for argument (.+)": (
        "{0} contains several values.",
        "Write a list like [1,2], or add -m to run one experiment for each value.",
    ),
    r"'hydra/launcher/(ray)'": ("Hydra's launcher {0!r} is not installed.", _RAY),
    r"'hydra/(launcher|sweeper)/(\w+)'": (
        "Hydra's {0} {1!r} is not installed.",
        "For joblib, submitit or optuna, run: pip install 'decloud_pl[sweeps]'",
    ),
    r"Could not append to config.*?'(.+?)'": ("{0} already exists.", "Write {0}=… without the +."),
    r"(.*'hydra\..*)": ("Hydra reports: {0}.", "See `python -m decloud_pl --hydra-help`."),
}


def explain(error: Exception, given: Sources) -> ConfigError:
    """Return the error for a configuration that Hydra could not compose."""
    from hydra.errors import MissingConfigException, OverrideParseException
    from omegaconf import ValidationError
    from yaml import MarkedYAMLError

    said, cause = str(error).strip(), error.__cause__ or error
    if isinstance(error, RecursionError):
        return ConfigError(
            "The configuration is invalid: a value is nested too deeply, or a file includes itself.",
            fix="Correct your preset, experiment or value.",
        )
    if isinstance(error, MarkedYAMLError) and (mark := error.problem_mark):
        return ConfigError(f"{mark.name}:{mark.line + 1}: invalid YAML: {error.problem}.", fix="Correct the file.")
    for pattern, (words, fix) in _SENTENCES.items():
        if found := re.search(pattern, said):
            return ConfigError(words.format(*found.groups()), fix=fix.format(*found.groups()))
    if isinstance(error, OverrideParseException):
        key, _, value = error.override.partition("=")
        return ConfigError(f"The value of {key} cannot be read: {value}.", fix=f"Quote it: {key}='\"…\"'.")
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        return ConfigError(f"Unknown {group} {name!r}.", fix=nearest(name, choices(group, *given.folders)))
    typed = {key: value for key, _, value in (text.lstrip("+~").partition("=") for text in given.overrides)}
    for group in groups() if isinstance(error, (TypeError, ValueError)) else ():
        known = choices(group, *given.folders)
        if group in typed and typed[group] not in known:
            return ConfigError(f"Unknown {group} {typed[group]!r}.", fix=nearest(typed[group], known))
    # The message of a file's error contains the cause. The error of an override has it as its `__cause__`.
    file = re.match(r"In '(.+)': (\w+) raised while composing config:\n(.*)$", said, re.MULTILINE)
    place = re.search(r"full_key: ([\w.]+)", f"{said}\n{cause}")
    key = place[1] if place else ""
    reason = file[3].rstrip(".") if file else first_line(cause)
    if key and reason.startswith("Key "):
        return _no_place(key, list(getattr(cause, "parent_node", None) or ()), given)
    if file or not isinstance(cause, ValidationError):
        where = f"The configuration {file[1]}" if file else "The configuration"
        named = f"{key}: {reason}" if key else reason
        return ConfigError(f"{where} is invalid: {named}.", fix="Check your settings.")
    return _wrong_value(cause, key, typed.get(key), given)


def wrong_in_tree(error: Exception, tree: DictConfig, given: Sources) -> ConfigError:
    """Return the error for a value in the composed configuration: a wrong type, or an interpolation that fails."""
    key = str(getattr(error, "full_key", "") or "")
    place = ALIASES.get(key, key)
    if "recursi" in str(error).lower():
        written = dict(leaves_of(cast(dict[str, Any], OmegaConf.to_container(tree, resolve=False)))).get(place)
        return ConfigError(
            f"{given.written(place)} is {written}, which refers to itself.",
            fix="Write a value instead of ${…}, for example lr: 0.001.",
        )
    value = OmegaConf.select(tree, place, throw_on_resolution_failure=False)
    return _wrong_value(error, key, value, given)


def _wrong_value(error: Exception, key: str, value: object, given: Sources) -> ConfigError:
    """Return the error for a value of the wrong type. ``value`` is None if it cannot be determined."""
    setting, name = leaves(given.home).get(key), given.written(key)
    if setting is None or value is None:
        return ConfigError(f"{first_line(error)} ({name}).", fix="Correct the value of this key.")
    if setting.kind == "names":
        return ConfigError(f"{name} must be a list (got {value!r}).", fix=f"Write {name}=[{value}].")
    return wrong(setting, value, name)


def check(settings: Settings, given: Sources) -> None:
    """Raise `ConfigError` for a value out of range, or for settings that contradict each other."""
    for place, value, allowed in declared(settings):
        try:
            holds = allowed.holds(value)
        except ValueError as error:
            raise ConfigError(
                f"{given.written(place)}: {error}.", fix=f"Write a value like {allowed.example}."
            ) from error
        if not holds:
            shown = repr(value) if isinstance(value, str) else value
            raise ConfigError(f"{given.written(place)} must be {allowed.words} (got {shown}).")
    check_trainer(settings.trainer)
    if 0 < settings.rewards.max_lamports < settings.rewards.min_lamports:
        least, most = given.written("rewards.min"), given.written("rewards.max")
        raise ConfigError(f"{most} is less than {least}.", fix=f"Raise {most}, or set it to 0 for no limit.")
    for parties in ("validators", "creators"):
        rules = getattr(settings.rewards, parties)
        if both := sorted(set(rules.allow) & set(rules.block)):
            allow, block = (given.written(f"rewards.{parties}.{rule}") for rule in ("allow", "block"))
            raise ConfigError(f"{both[0]} is in both {allow} and {block}.", fix="Remove it from one of them.")
    if settings.base_model and settings.task != "experiment":
        raise ConfigError("base_model applies only to experiments.", fix="Add task=experiment, or remove base_model.")
    if (settings.task == "round") != (settings.round is not None):
        raise ConfigError("task=round and round=ID need each other.", fix="Set both or neither.")
    settings.network.check()


def refuse_unknown_keys(node: object, place: str = "") -> None:
    """Raise `ConfigError` for a key that the user added (``+key=value``) to a node with fixed keys."""
    known = [entry.name for entry in fields(node)]  # type: ignore[arg-type]  # a dataclass
    for name, value in vars(node).items():
        if name not in known:
            raise no_setting(f"{place}{name}", [f"{place}{one}" for one in known])
        if is_dataclass(value):
            refuse_unknown_keys(value, f"{place}{name}.")


def _no_place(key: str, known: list[str], given: Sources) -> ConfigError:
    """Return the error for a key that the configuration does not have.

    Args:
        key: the full key, for example ``trainer.max_epoch``.
        known: the keys of the configuration node that ``key`` belongs to, without the path of the node.
        given: where the user's settings come from.
    """
    above = key.rpartition(".")[0]
    if key in (*OVER_ALL, SWEEP):
        fix = "Begin the file with the line '# @package _global_'."
        return ConfigError(
            f"Your {key} file does not apply to the whole configuration, only to the node {key!r}.", fix=fix
        )
    if key.partition(".")[0] not in free_groups():
        known = [name for path, one in leaves(given.home).items() for name in {path, one.name}]
        return no_setting(key, [name for name in known if name.rpartition(".")[0] == above])
    close = difflib.get_close_matches(key, [f"{above}.{name}" for name in known], n=1)
    short = [name for name, place in ALIASES.items() if place == key]
    hint = f"Its short name is {short[0]}. " if short else f"Did you mean {close[0]!r}? " if close else ""
    return ConfigError(f"The configuration has no key {key!r}.", fix=f"{hint}To add it, write +{key}=….")
