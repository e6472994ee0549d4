"""Two names of one value: the short names that users write, and the places in Lightning's nodes that they stand for.

Every layer is translated before it is composed, so that Hydra's own precedence decides whichever name a layer uses.
In the composed tree a short name is ``${alias:PLACE}``, which shows the value at that place.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from decloud_pl.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

SHORT = {
    "epochs": "trainer.max_epochs",
    "batch_size": "datamodule.batch_size",
    "learning_rate": "optimizer.lr",
    "max_batches": "trainer.limit_train_batches",
}
_FIT = ("compile", "data_memory_mb", "data_workers", "checkpoint_seconds", "publish_reserve_seconds")
ALIASES = {**SHORT, **{f"trainer.{name}": f"fit.{name}" for name in _FIT}}
_BATCHES, _ALL = "max_batches", 1.0
# What a node of the user's own means by the short name that now shows the node itself.
_BUILT_IN = {"epochs": 1, "batch_size": 32, "learning_rate": 0.001, _BATCHES: _ALL}


def to_place(name: str, value: Any) -> Any:
    """A value by its short name, or the text of an override, as Lightning has it: 0 batches are 1.0 of them, all."""
    if name != _BATCHES or isinstance(value, bool):
        return value
    if isinstance(value, str):  # the values of a sweep included
        return value if "range(" in value else re.sub(r"(?<![\w.+-])0(?![\w.])", str(_ALL), value)
    return _ALL if value == 0 else value


def by_place(where: str, values: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """One layer's values at their places.

    Raises:
        ConfigError: both names of one value are set, and not to the same.
    """
    found: dict[str, tuple[str, Any]] = {}
    for name, given in values:
        place, value = ALIASES.get(name, name), to_place(name, given)
        before, other = found.get(place, (name, value))
        if before != name and other != value:
            raise ConfigError(
                f"{where} sets {before} to {other} and {name} to {value}, but these are two names of one value.",
                fix=f"Keep only {before} or only {name}.",
            )
        found[place] = name, value
    return {place: value for place, (_, value) in found.items()}


def alias(place: str, *, _root_: DictConfig) -> Any:
    """The resolver: the value at a place as its short name shows it; None where that has no word for it."""
    from omegaconf import OmegaConf

    value = OmegaConf.select(_root_, place)
    if place != SHORT[_BATCHES] or not isinstance(value, float):
        return value
    return 0 if value == _ALL else None


def move_old_keys(tree: DictConfig, set_elsewhere: Collection[str]) -> None:
    """Puts what a node of the user's own has by an old name to its place.

    Args:
        tree: the composed one, which is changed.
        set_elsewhere: the places that a layer above the node sets.
    """
    from omegaconf import OmegaConf, open_dict

    with open_dict(tree):
        for key in _FIT:
            if key in tree.trainer:
                value = tree.trainer.pop(key)
                if f"fit.{key}" not in set_elsewhere:
                    OmegaConf.update(tree, f"fit.{key}", value)
        for name, place in SHORT.items():
            group, _, key = place.partition(".")
            raw: Any = OmegaConf.to_container(tree[group], resolve=False)
            if raw.get(key) == f"${{{name}}}":
                OmegaConf.update(tree, place, _BUILT_IN[name])
