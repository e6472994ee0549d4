"""Recipes: sets of values for a training's configuration that work well together.

The user's own settings take precedence over the values of a recipe.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from decloud_pl.config.training import TrainingConfig

Recipe = Mapping[str, Any]
Config = TypeVar("Config", bound=TrainingConfig)
_REPLACED = ("optimizer", "scheduler")
"""Nodes that a recipe replaces, because the arguments of one class do not fit another."""
_MERGED = ("module", "datamodule", "callbacks", "trainer")


def candidates(config: TrainingConfig) -> dict[str, Recipe]:
    """Return the recipes to choose from, by name and in order of preference."""
    several = config.recipe.get("candidates")
    return dict(several) if isinstance(several, Mapping) else {"chosen": config.recipe}


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
    when = recipe.get("when") or {}
    return bool(
        when.get("kind", kind) == kind
        and samples <= when.get("most_samples", samples)
        and base >= when.get("base", 0.0)
        and epochs >= when.get("epochs", 0.0)
    )


def nodes(config: TrainingConfig, recipe: Recipe, given: Collection[str]) -> dict[str, Any]:
    """Return the configuration nodes for which a recipe has values, by name, with these values set.

    Settings in ``given`` keep the user's values. An image augmentation of the recipe is used only if it is a shift or
    if the data set's declaration lists it.
    """
    found: dict[str, Any] = {}
    for name in (*_REPLACED, *_MERGED):
        if not recipe.get(name) or (name in _REPLACED and name in given):
            continue
        own, wanted = dict(getattr(config, name) or {}), dict(recipe[name])
        if "augment" in wanted:
            harmless = _harmless(wanted["augment"], config.dataset)
            changed = {key: one for key, one in harmless.items() if f"{name}.augment.{key}" not in given}
            wanted["augment"] = {**(own.get("augment") or {}), **changed}
        kept = {key: value for key, value in own.items() if name in _MERGED or f"{name}.{key}" in given}
        found[name] = {**kept, **{key: one for key, one in wanted.items() if f"{name}.{key}" not in given}}
    return found


def with_chosen(config: Config, given: Collection[str]) -> Config:
    """Apply the recipe in a configuration. Return the configuration unchanged if it has several candidate recipes."""
    if "candidates" in config.recipe:
        return config
    return dataclasses.replace(config, **nodes(config, config.recipe, given))


def _harmless(augment: Mapping[str, Any], dataset: Mapping[str, Any]) -> dict[str, Any]:
    entry = dataset.get("entry")
    harmless = entry.get("augment", ()) if isinstance(entry, Mapping) else ()
    return {name: value for name, value in augment.items() if name == "shift" or name in harmless}
