"""Two names of one value: the short names that users write, and the places in Lightning's nodes that they stand for.

Every layer is translated before it is composed, so that Hydra's own precedence decides whichever name a layer uses.
In the composed tree a short name is ``${alias:PLACE}``, which shows the value at that place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from decloud_pl.errors import ConfigError

ALIASES = {
    "epochs": "trainer.max_epochs",
    "batch_size": "datamodule.batch_size",
    "learning_rate": "optimizer.lr",
    "max_batches": "trainer.limit_train_batches",
    **{
        f"trainer.{name}": f"fit.{name}"
        for name in ("compile", "data_memory_mb", "data_workers", "checkpoint_seconds", "publish_reserve_seconds")
    },
}
_BATCHES = "max_batches"
_ALL = 1.0
# What a node of the user's own means by the short name that now shows the node itself.
_BUILT_IN = {"${epochs}": 1, "${batch_size}": 32, "${learning_rate}": 0.001, "${max_batches}": _ALL}
_MISSING = object()


def to_place(name: str, value: Any) -> Any:
    """A value by its short name as Lightning has it: 0 batches mean all, which are 1.0 of them."""
    return _ALL if name == _BATCHES and value == 0 and not isinstance(value, bool) else value


def text_to_place(name: str, text: str) -> str:
    """The same for the text of an override, lists of values of a sweep included."""
    return re.sub(r"(?<![\w.+-])0(?![\w.])", str(_ALL), text) if name == _BATCHES and "range(" not in text else text


def shown(place: str, value: Any) -> Any:
    """A value at its place as the short name shows it; None where that has no word for it."""
    if place != ALIASES[_BATCHES] or not isinstance(value, float):
        return value
    return 0 if value == _ALL else None


def one_of_two(where: str, name: str, value: object, place: str, other: object) -> ConfigError:
    """The refusal of one value that is set by both its names, and not to the same."""
    return ConfigError(
        f"{where} sets {name} to {value} and {place} to {other}, but these are two names of one value.",
        fix=f"Keep only {place} or only {name}.",
    )


def translated(tree: dict[str, Any], where: str) -> dict[str, Any]:
    """A layer's tree with every value at its place.

    Raises:
        ConfigError: both names of one value are set, and not to the same.
    """
    for name, place in ALIASES.items():
        value = _take(tree, name)
        if value is not _MISSING:
            value, other = to_place(name, value), _take(tree, place)
            if other not in (_MISSING, value):
                raise one_of_two(where, name, value, place, other)
            put(tree, place, value)
        found = _take(tree, place)
        if found is not _MISSING:
            put(tree, place, _BUILT_IN.get(found, found) if isinstance(found, str) else found)
    return tree


def put(tree: dict[str, Any], place: str, value: Any) -> None:
    """Sets one value of a tree; a mapping adds to the one that is there."""
    *above, last = place.split(".")
    for key in above:
        if not isinstance(tree.get(key), dict):
            tree[key] = {}
        tree = tree[key]
    both = isinstance(value, Mapping) and isinstance(tree.get(last), dict)
    tree[last] = {**tree[last], **value} if both else value


def _take(tree: dict[str, Any], place: str) -> Any:
    *above, last = place.split(".")
    for key in above:
        tree = tree.get(key) or {}
        if not isinstance(tree, dict):
            return _MISSING
    return tree.pop(last, _MISSING)
