"""Where the value of each setting comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decloud_pl.settings.aliases import by_place
from decloud_pl.settings.layers import Sources
from decloud_pl.settings.names import EXPERIMENT, PRESET, groups
from decloud_pl.settings.schema import CONFIG_FILE
from decloud_pl.settings.training import TrainingConfig

if TYPE_CHECKING:
    pass

BUILT_IN = "built-in"
COMMAND_LINE = "command line"
_OF_A_TRAINING = ("model", *(entry.name for entry in fields(TrainingConfig)))


class Origins:
    """What sets which place in the tree.

    Args:
        given: the layers.
        choices: of each group.
    """

    def __init__(self, given: Sources, choices: Mapping[str, str]) -> None:
        self._overrides = {override.lstrip("+~").partition("=")[0] for override in given.overrides}
        self.assignments = given.counting()
        self.outside = given.outside
        self.files = {
            f"{group} {choices[group]}": values_of(given.folders, group, choices[group])
            for group in (EXPERIMENT, PRESET)
            if choices.get(group, "none") != "none"
        }

    def of(self, place: str) -> str:
        """The strongest layer that sets a place, or failing that the choice of its group."""
        if any(_sets(key, place) for key in self._overrides):
            return COMMAND_LINE
        if place in self.assignments:
            return self.assignments[place].origin
        for origin, places in self.files.items():
            if any(_sets(key, place) for key in places):
                return origin
        group = place.partition(".")[0]
        return BUILT_IN if group == place else self.of(group)

    def places(self) -> Iterator[str]:
        """Every place that is set above the built-in layer."""
        yield from (*self._overrides, *self.assignments)
        for places in self.files.values():
            yield from places

    def of_training(self) -> tuple[str, ...]:
        """The places that belong to a training, the choices of groups included."""
        return tuple(sorted({place for place in self.places() if place.partition(".")[0] in _OF_A_TRAINING}))

    def covered(self) -> list[str]:
        """The settings of the chosen preset that config.json has its own value for."""
        preset = next((places for name, places in self.files.items() if name.startswith(PRESET)), {})
        return [
            entry.setting.name
            for place, entry in self.assignments.items()
            if entry.origin == CONFIG_FILE and any(_sets(key, place) for key in preset)
        ]


def _sets(key: str, place: str) -> bool:
    """Whether who sets one sets the other: a choice is none of the values in its group."""
    inside = key.startswith(f"{place}.") or place.startswith(f"{key}.")
    return key == place or (inside and key not in groups() and place not in groups())


def values_of(folders: Sequence[Path], group: str, name: str) -> dict[str, Any]:
    """What a file of a group sets, by places, the groups that it chooses and the files that it builds on included.

    Raises:
        ConfigError: it sets a value by two names, and not to the same.
        OSError: it cannot be read.
        YAMLError: it is no YAML.
    """
    from omegaconf import OmegaConf

    file = next((path for folder in folders if (path := folder / group / f"{name}.yaml").is_file()), None)
    tree: Any = {} if file is None else OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    if not isinstance(tree, dict):
        return {}
    defaults = tree.pop("defaults", [])
    own = by_place(str(file), leaves_of(tree))
    found: dict[str, Any] = {}
    for entry in defaults if "_self_" in defaults else [*defaults, "_self_"]:
        if isinstance(entry, dict):
            found |= {key.rpartition("/")[2]: value for key, value in entry.items()}
        else:
            found |= own if entry == "_self_" else values_of(folders, group, str(entry))
    return found


def leaves_of(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings and dataclasses by places."""
    for key, value in tree.items():
        if is_dataclass(value):
            value = vars(value)  # noqa: PLW2901
        if isinstance(value, dict) and value:
            yield from leaves_of(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
