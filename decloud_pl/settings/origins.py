"""Where the value of each setting comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decloud_pl.redact import redact_tree
from decloud_pl.settings.layers import Assignment
from decloud_pl.settings.names import EXPERIMENT, PACKAGES, PRESET, Setting, groups, settings_by_name
from decloud_pl.settings.schema import CONFIG_FILE, value_at
from decloud_pl.settings.training import TrainingConfig

if TYPE_CHECKING:
    from decloud_pl.settings.load import Composed, Sources

BUILT_IN = "built-in"
COMMAND_LINE = "command line"
_OF_A_TRAINING = ("model", *(entry.name for entry in fields(TrainingConfig)))


@dataclass(frozen=True)
class Shown:
    """One setting as ``config --show`` prints it; a secret only in part, of an address only scheme, host and port."""

    name: str
    value: Any
    origin: str


class Origins:
    """What sets which place in the tree.

    Args:
        given: the layers.
        choices: of each group.
    """

    def __init__(self, given: Sources, choices: Mapping[str, str]) -> None:
        self._overrides = {override.lstrip("+~").partition("=")[0] for override in given.overrides}
        self.assignments = given.layers.counting(given.overrides)
        self.files = {
            f"{group} {choices[group]}": dict.fromkeys(_places(given.folders, group, choices[group]))
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


def given_places(given: Sources, choices: Mapping[str, str]) -> tuple[str, ...]:
    """The settings of a training that a layer above the built-in one sets, the choices of groups included."""
    places = Origins(given, choices).places()
    return tuple(sorted({place for place in places if place.partition(".")[0] in _OF_A_TRAINING}))


def show(given: Sources, composed: Composed) -> list[Shown]:
    """Every setting with its value and its origin, the main ones first."""
    settings, origins, found = composed.settings, Origins(given, composed.choices), []
    for name, setting in settings_by_name().items():
        if not setting.path:
            kept = given.layers.outside.get(name)
            value = list(settings.allow_packages) if name == PACKAGES else settings.secrets.shown(name)
            found.append(Shown(name, value, kept.origin if kept else BUILT_IN))
        elif setting.kind != "choice":
            found.append(Shown(name, redact_tree(value_at(settings, setting.path)), origins.of(setting.place)))
        elif name in composed.choices:
            found.append(Shown(name, composed.choices[name], origins.of(name)))
    # Keys of a free group are settings only where somebody sets them by these names.
    own = [entry.setting for entry in origins.assignments.values() if entry.setting.kind == "any"]
    own += [Setting(place, place, "any") for place in _unspoken(composed) if place not in {one.path for one in own}]
    return found + [
        Shown(one.name, redact_tree(value_at(settings, one.path)), origins.of(one.path))
        for one in own
        if one.name not in settings_by_name()
    ]


def covered(given: Sources, composed: Composed) -> list[str]:
    """The settings of the chosen preset that config.json has its own value for."""
    origins = Origins(given, composed.choices)
    preset = origins.files.get(f"{PRESET} {composed.preset}", {})

    def counts(place: str, entry: Assignment) -> bool:
        return entry.origin == CONFIG_FILE and any(_sets(key, place) for key in preset)

    return [entry.setting.name for place, entry in origins.assignments.items() if counts(place, entry)]


def _unspoken(composed: Composed) -> list[str]:
    """The places whose value their short name cannot show."""
    short = [setting for setting in settings_by_name().values() if setting.place != setting.path]
    return [one.place for one in short if value_at(composed.settings, one.path) is None]


def _places(folders: list[Path], group: str, name: str) -> Iterator[str]:
    """What a file of a group sets, the groups that it chooses and the files that it builds on included."""
    from omegaconf import OmegaConf

    from decloud_pl.settings.own_files import read_own

    for folder in folders:
        if (folder / group / f"{name}.yaml").is_file():
            tree: Any = OmegaConf.to_container(read_own(folder, f"{group}/{name}")[0], resolve=False)
            for entry in tree.pop("defaults", []):
                if isinstance(entry, dict):
                    yield from (key.rpartition("/")[2] for key in entry)
                elif entry != "_self_":
                    yield from _places(folders, group, entry)
            yield from _leaf_places(tree)
            return


def _sets(key: str, place: str) -> bool:
    """Whether who sets one sets the other: a choice is none of the values in its group."""
    inside = key.startswith(f"{place}.") or place.startswith(f"{key}.")
    return key == place or (inside and key not in groups() and place not in groups())


def _leaf_places(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaf_places(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
