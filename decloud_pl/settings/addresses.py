"""Settings that hold more of an address than may be shown: covered before Hydra prints or saves them, then restored."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from decloud_pl.config_dir import config_dir
from decloud_pl.redact import redact_tree
from decloud_pl.settings.schema import Settings, Tree
from decloud_pl.settings.values import hydra_text

if TYPE_CHECKING:
    from omegaconf import DictConfig

_COPY = "dataset.data"
"""Made of other settings when the tree has been read."""
_DOWNLOADS = "dataset.entry.downloads"


def hidden_values(settings: Settings) -> dict[str, Any]:
    """The values that must not be shown as they are, by their places in the tree."""
    tree: dict[str, Any] = {}
    for entry in dataclasses.fields(Tree):
        value = getattr(settings, entry.name)
        is_group = dataclasses.is_dataclass(value) and not isinstance(value, type)
        tree[entry.name] = dataclasses.asdict(value) if is_group else value
    found = hidden_in(tree)
    public = {_DOWNLOADS} if _is_built_in(settings.dataset) else set()
    return {place: value for place, value in found.items() if not place.startswith(_COPY) and place not in public}


def hidden_in(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The same for a tree of plain values, whatever they are good for."""
    return dict(pair for name, node in tree.items() for pair in _hidden(name, node))


def covers(hidden: Mapping[str, Any]) -> list[str]:
    """Overrides that put what may be shown in the place of hidden values."""
    return [f"++{place}={hydra_text(redact_tree(value))}" for place, value in hidden.items()]


def uncover(tree: DictConfig, hidden: Mapping[str, Any]) -> None:
    """Puts hidden values back into a composed tree that was covered."""
    from omegaconf import OmegaConf

    for place, value in hidden.items():
        if OmegaConf.select(tree, place) == redact_tree(value):
            OmegaConf.update(tree, place, value, merge=False, force_add=True)


def _is_built_in(dataset: Mapping[str, Any]) -> bool:
    """Whether a data set is one that comes with this package, whose addresses everybody knows."""
    entry = dataset.get("entry")
    name = entry.get("name", "") if isinstance(entry, Mapping) else ""
    return (config_dir() / "dataset" / f"{name}.yaml").is_file()


def _hidden(place: str, node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _hidden(f"{place}.{key}", value)
    elif redact_tree(node) != node:
        yield place, node
