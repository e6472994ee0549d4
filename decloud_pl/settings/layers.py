"""What is set where: config.json below the environment, and who wins.

Each assignment remembers its origin. Together they are one node in Hydra's defaults list, below the command line.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decloud_pl.errors import ConfigError
from decloud_pl.settings.aliases import ALIASES, one_of_two, put, to_place
from decloud_pl.settings.file import ConfigFile
from decloud_pl.settings.names import PACKAGES, Setting, find, free_groups, groups, nearest, settings_by_name
from decloud_pl.settings.private import hide
from decloud_pl.settings.schema import CONFIG_FILE
from decloud_pl.settings.secrets import SECRET_NAMES, Secrets
from decloud_pl.settings.values import Value, from_text, literal

logger = logging.getLogger(__name__)

_PREFIX = "DECLOUD_"
_NOT_SETTINGS = ("DECLOUD_HOME", "DECLOUD_NO_SKIPS")
_PINATA = {
    "PINATA_API_KEY": "pinata_api_key",
    "PINATA_SECRET_KEY": "pinata_secret_key",
    "PINATA_SECRET_API_KEY": "pinata_secret_key",
    "PINATA_JWT": "pinata_jwt",
}
_PACKAGE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True, slots=True)
class Assignment:
    """A value and where it was given."""

    setting: Setting
    value: Any
    origin: str


@dataclass(frozen=True)
class Layers:
    """The assignments that count, at most one for each place in the tree, and by name what is outside of the tree.

    ``home`` is None where there is neither config.json nor environment.
    """

    home: Path | None
    assignments: Mapping[str, Assignment]
    outside: Mapping[str, Assignment]

    @property
    def secrets(self) -> Secrets:
        values = {name: self.outside[name].value for name in SECRET_NAMES if name in self.outside}
        return Secrets(values, home=str(self.home or ""))

    @property
    def allow_packages(self) -> tuple[str, ...]:
        return tuple(self.outside[PACKAGES].value) if PACKAGES in self.outside else ()

    def counting(self, overrides: Sequence[str]) -> dict[str, Assignment]:
        """Those that count below the overrides of a command line, by their places.

        Who chooses another network there does not want what belongs to the one in config.json.
        """
        chosen = override_choices(overrides)
        own = {group: self.assignments[group].value for group in groups() if group in self.assignments}
        return {
            place: entry
            for place, entry in self.assignments.items()
            if not ((group := _belongs_to(entry)) in chosen and own.get(group) != chosen[group])
        }

    def node(self, overrides: Sequence[str]) -> dict[str, Any]:
        """The layers as a node of Hydra's, text of the user without a meaning and private addresses hidden."""
        defaults: list[Any] = []
        tree: dict[str, Any] = {} if self.home is None else {"home": literal(str(self.home))}
        for place, entry in self.counting(overrides).items():
            if entry.setting.kind == "choice":
                defaults.append({f"override /{place}": entry.value})
            else:
                put(tree, place, hide(place, literal(entry.value)))
        return {"defaults": [*defaults, "_self_"], **tree}


def read_layers(home: Path, environ: Mapping[str, str]) -> Layers:
    """Reads config.json and the environment.

    Raises:
        ConfigError: one of them holds a value that is none, or config.json a name that is no setting.
    """
    return layers_of(ConfigFile(home).read(), home, environ)


def layers_of(values: Mapping[str, Value], home: Path, environ: Mapping[str, str]) -> Layers:
    """The layers that config.json with these values would give.

    Raises:
        ConfigError: a variable holds a value that is none, or a layer two for one setting.
    """
    kept = _by_place((Assignment(find(name), value, CONFIG_FILE) for name, value in values.items()), CONFIG_FILE)
    given = _by_place(_from_environment(environ), "The environment")
    counting = dict(kept)
    for place, entry in given.items():
        before = kept.get(place)
        if entry.setting.kind == "choice" and (before is None or before.value != entry.value):
            counting = {key: below for key, below in counting.items() if _belongs_to(below) != place or key in given}
        elif before is not None and isinstance(before.value, dict) and isinstance(entry.value, dict):
            # Tables add up: a mapping in the environment does not take away the others in config.json.
            entry = Assignment(entry.setting, {**before.value, **entry.value}, entry.origin)  # noqa: PLW2901
        counting[place] = entry
    outside = {place: entry for place, entry in counting.items() if not entry.setting.path}
    for name in outside.get(PACKAGES, Assignment(find(PACKAGES), [], "")).value:
        if not _PACKAGE.fullmatch(name):
            raise ConfigError(f"{PACKAGES}: {name!r} is no package.", fix="Name it as in an import.")
    inside = {place: entry for place, entry in counting.items() if place not in outside}
    return Layers(home, inside, {name: entry for name, entry in outside.items() if entry.value})


def override_choices(overrides: Sequence[str]) -> dict[str, str]:
    """The group choices among Hydra overrides."""
    pairs = (override.lstrip("+").partition("=") for override in overrides)
    return {key: value for key, equals, value in pairs if equals and key in groups()}


def variable_of(setting: Setting) -> str:
    """The environment variable of a setting: ``DECLOUD_EPOCHS``, ``DECLOUD_NETWORK_RPC_URL``."""
    return f"{_PREFIX}{setting.name.replace('.', '_').upper()}"


def secret_variables() -> list[str]:
    """The environment variables that may hold a secret."""
    return [*(variable_of(find(name)) for name in SECRET_NAMES), *_PINATA]


def _belongs_to(entry: Assignment) -> str | None:
    """The group of a value that makes sense for one choice only: an RPC address for its network, a key for its class.

    Those of the other groups are named so that they do for every choice, for example ``storage.kubo_address``; so
    are short names, which every choice has.
    """
    group, dot, _ = entry.setting.path.partition(".")
    return group if dot and entry.setting.place == entry.setting.path and group in ("network", *free_groups()) else None


def _by_place(entries: Iterable[Assignment], where: str) -> dict[str, Assignment]:
    found: dict[str, Assignment] = {}
    for entry in entries:
        setting = entry.setting
        place, value = setting.place or setting.name, to_place(setting.path, entry.value)
        before = found.get(place)
        if before is not None and before.setting != setting and before.value != value:
            raise one_of_two(where, before.setting.name, before.value, setting.name, value)
        found[place] = Assignment(setting, value, entry.origin)
    return found


def _from_environment(environ: Mapping[str, str]) -> list[Assignment]:
    settings = (*settings_by_name().values(), *map(find, ALIASES.values()))
    by_variable = {variable_of(setting): setting for setting in settings}
    found: list[Assignment] = []
    for variable, text in environ.items():
        if variable in _PINATA:
            found.append(Assignment(find(_PINATA[variable]), text.strip(), variable))
        elif variable in by_variable and text:
            setting = by_variable[variable]
            found.append(Assignment(setting, from_text(setting, text, variable), variable))
        elif variable.startswith(_PREFIX) and variable not in (*_NOT_SETTINGS, *by_variable):
            # Not an error: it may be meant for another program.
            logger.warning(
                "The environment variable %s is no setting. %s", variable, nearest(variable, list(by_variable))
            )
    return found
