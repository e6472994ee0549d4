"""Recipes: sets of values for a training's configuration that work well together.

The user's own settings take precedence over the values of a recipe.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from decloud_pl.config.training import MERGED, TrainingConfig, is_given
from decloud_pl.errors import ConfigError

Recipe = Mapping[str, Any]
Config = TypeVar("Config", bound=TrainingConfig)
_REPLACED = ("optimizer", "scheduler")
"""Nodes that a recipe replaces, because the arguments of one class do not fit another."""
_SEVERAL, _RACE, _WHEN = "candidates", "race", "when"
_KINDS = ("image", "text")
_CONDITIONS = ("kind", "most_samples", "base", "epochs")
_LONGEST_RACE = 0.5
_KEYS = (_WHEN, *_REPLACED, *MERGED)


def candidates(config: TrainingConfig) -> dict[str, Recipe]:
    """Return the recipes to choose from, by name and in order of preference.

    Raises:
        ConfigError: a recipe has an unknown key, or a value of the wrong type.
    """
    several = config.recipe.get(_SEVERAL)
    if several is None:
        _check("recipe", config.recipe, _KEYS)
        return {"chosen": config.recipe}
    _check("recipe", config.recipe, (_SEVERAL, _RACE))
    for name, recipe in several.items():
        _check(f"recipe.{_SEVERAL}.{name}", recipe, _KEYS)
    return dict(several)


def applied(config: TrainingConfig) -> Recipe:
    """Return the recipe whose values are in a configuration; empty if it still has several recipes to choose from."""
    return {} if _SEVERAL in config.recipe else config.recipe


def race_share(config: TrainingConfig) -> float:
    """Return the share (0 to 0.5) of the time in which the candidates race. 0 chooses the first one that suits.

    Raises:
        ConfigError: the value is not such a share.
    """
    share = config.recipe.get(_RACE, 0.0)
    if not _is_number(share) or not 0 <= share <= _LONGEST_RACE:
        raise ConfigError(
            f"recipe.{_RACE} must be a number from 0 to {_LONGEST_RACE} (got {share!r}).",
            fix="It is the share of the time in which the recipes are compared.",
        )
    return float(share)


def _check(where: str, recipe: Any, keys: Collection[str]) -> None:
    if not isinstance(recipe, Mapping):
        raise ConfigError(f"{where} must be a recipe (got {recipe!r}).", fix=f"It may have {', '.join(keys)}.")
    for key, value in recipe.items():
        if key not in keys:
            own = "a recipe" if _RACE not in keys else f"a recipe with {_SEVERAL}"
            raise ConfigError(f"{where}.{key} is not a part of {own}.", fix=f"Use {', '.join(keys)}.")
        if key != _RACE and value is not None and not isinstance(value, Mapping):
            raise ConfigError(f"{where}.{key} must be a mapping (got {value!r}).", fix="See conf/recipe/fast.yaml.")
    for key, value in (recipe.get(_WHEN) or {}).items():
        if key not in _CONDITIONS:
            raise ConfigError(f"{where}.{_WHEN}.{key} is not a condition.", fix=f"Use {', '.join(_CONDITIONS)}.")
        if key == "kind" and value not in _KINDS:
            raise ConfigError(f"{where}.{_WHEN}.kind must be {' or '.join(_KINDS)} (got {value!r}).", fix="Correct it.")
        if key != "kind" and not _is_number(value):
            raise ConfigError(f"{where}.{_WHEN}.{key} must be a number (got {value!r}).", fix="Correct the recipe.")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def suits(recipe: Recipe, *, kind: str, samples: int, base: float, epochs: float) -> bool:
    """Return whether a recipe's conditions hold.

    Args:
        recipe: the recipe. Its node ``when`` may have a kind of samples, a maximum number of samples, a minimum
            accuracy of the base model (0 to 1) and a minimum number of epochs.
        kind: kind of the data set's samples.
        samples: number of samples in the training split.
        base: accuracy of the base model.
        epochs: number of epochs that fit before the deadline.
    """
    when = recipe.get(_WHEN) or {}
    return bool(
        when.get("kind", kind) == kind
        and samples <= when.get("most_samples", samples)
        and base >= when.get("base", 0.0)
        and epochs >= when.get("epochs", 0.0)
    )


def nodes(config: TrainingConfig, recipe: Recipe, given: Collection[str]) -> dict[str, Any]:
    """Return the configuration nodes for which a recipe has values, by name, with these values set.

    The node ``recipe`` in the result is the recipe itself, so the resulting configuration tells which recipe it has.
    Settings in ``given`` keep the user's values. They include the keys in the user's own file for a group. If the user
    names a packaged file, such as ``trainer=cpu``, its keys are not among them, and the recipe replaces its default
    values as it would without that choice. An image augmentation of the recipe is used only if it is a shift or
    if the data set's declaration lists it.
    """
    found: dict[str, Any] = {"recipe": dict(recipe)}
    for name in (*_REPLACED, *MERGED):
        if not recipe.get(name) or (name in _REPLACED and name in given):
            continue
        own, wanted = dict(getattr(config, name) or {}), dict(recipe[name])
        if wanted.get("augment"):
            harmless = _harmless(wanted["augment"], config.dataset)
            changed = {key: one for key, one in harmless.items() if f"{name}.augment.{key}" not in given}
            wanted["augment"] = {**(own.get("augment") or {}), **changed}
        kept = {key: value for key, value in own.items() if name in MERGED or is_given(f"{name}.{key}", given)}
        # The recipe's augmentation already has the user's values in it.
        free = [key for key in wanted if key == "augment" or not is_given(f"{name}.{key}", given)]
        found[name] = {**kept, **{key: wanted[key] for key in free if f"{name}.{key}" not in given}}
    return found


def with_chosen(config: Config, given: Collection[str]) -> Config:
    """Apply the recipe in a configuration. Return the configuration unchanged if it has several candidate recipes.

    Raises:
        ConfigError: a recipe has an unknown key, or a value of the wrong type.
    """
    several, _ = candidates(config), race_share(config)
    if _SEVERAL in config.recipe:
        return config
    return dataclasses.replace(config, **nodes(config, several["chosen"], given))


def _harmless(augment: Mapping[str, Any], dataset: Mapping[str, Any]) -> dict[str, Any]:
    entry = dataset.get("entry")
    harmless = entry.get("augment", ()) if isinstance(entry, Mapping) else ()
    return {name: value for name, value in augment.items() if name == "shift" or name in harmless}
