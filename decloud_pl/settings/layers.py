"""What is set where: config.json below the environment below the command line.

The first two are one node in Hydra's defaults list, the last are its overrides. Each value remembers its origin.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from decloud_pl.config_dir import config_dir
from decloud_pl.errors import ConfigError, nearest
from decloud_pl.secrets import SECRET_NAMES, Secrets
from decloud_pl.settings.aliases import ALIASES, SHORT, by_place, to_place
from decloud_pl.settings.file import ConfigFile
from decloud_pl.settings.names import PACKAGES, Setting, find, free_groups, groups, no_setting, settings_by_name
from decloud_pl.settings.schema import CONFIG_FILE, USER_CONF, default_home
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
_OVERRIDE = re.compile(r"^((\+{1,2})?[A-Za-z_][\w./@:-]*=.*|~[A-Za-z_][\w./@:-]*(=.*)?)$", re.DOTALL)
_PACKAGE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True, slots=True)
class Assignment:
    """A value and where it was given."""

    setting: Setting
    value: Any
    origin: str


@dataclass(frozen=True)
class Sources:
    """Where the settings of one run come from.

    Attributes:
        home: the folder of config.json; None where there is neither that nor an environment.
        assignments: of config.json and the environment, at most one for each place in the tree.
        outside: those that are no part of the tree, by name.
        overrides: the command line's, in Hydra's grammar and by Lightning's names.
        sweep: whether a comma in an override stands between values.
    """

    home: Path | None = None
    assignments: Mapping[str, Assignment] = field(default_factory=dict)
    outside: Mapping[str, Assignment] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    sweep: bool = False

    @property
    def folders(self) -> list[Path]:
        """Where choices of groups are: the built-in ones and the user's own."""
        own = None if self.home is None else self.home / USER_CONF
        return [config_dir(), *([own.resolve()] if own is not None and own.is_dir() else [])]

    @property
    def secrets(self) -> Secrets:
        values = {name: entry.value for name, entry in self.outside.items() if name in SECRET_NAMES}
        return Secrets(values, home=str(self.home or ""))

    @property
    def allow_packages(self) -> list[str]:
        return list(self.outside[PACKAGES].value) if PACKAGES in self.outside else []

    def chosen(self) -> dict[str, str]:
        """The choices of groups on the command line."""
        pairs = (override.lstrip("+").partition("=") for override in self.overrides)
        return {key: value for key, equals, value in pairs if equals and key in groups()}

    def counting(self) -> dict[str, Assignment]:
        """The assignments that count below the command line.

        Who chooses another network there does not want what belongs to the one in config.json.
        """
        kept = self.assignments
        changed = {group for group, one in self.chosen().items() if group not in kept or kept[group].value != one}
        return {place: entry for place, entry in kept.items() if _belongs_to(entry) not in changed}

    def node(self, by_files: Mapping[str, Any]) -> dict[str, Any]:
        """config.json and the environment as a node of Hydra's, over values of presets and experiments."""
        counting = self.counting()
        chosen = [{f"override /{place}": one.value} for place, one in counting.items() if one.setting.kind == "choice"]
        # A file may have put a value in the place of what shows it.
        tree: dict[str, Any] = {name: f"${{alias:{place}}}" for name, place in SHORT.items()}
        home = {} if self.home is None else {"home": literal(str(self.home))}
        values = {place: literal(one.value) for place, one in counting.items() if one.setting.kind != "choice"}
        for place, value in {**home, **by_files, **values}.items():
            *above, last = place.split(".")
            node = tree
            for key in above:
                node = node.setdefault(key, {})
            node[last] = value
        return {"defaults": [*chosen, "_self_"], **tree}


def sources(overrides: Sequence[str] = (), *, environ: Mapping[str, str] = os.environ, sweep: bool = False) -> Sources:
    """Reads config.json and the environment; the command line's overrides come on top.

    Raises:
        ConfigError: one of them is not what it should be.
    """
    home = default_home(environ)
    below = sources_of(ConfigFile(home).read(), home, environ)
    return replace(below, overrides=placed(overrides), sweep=sweep)


def sources_of(values: Mapping[str, Value], home: Path, environ: Mapping[str, str] | None = None) -> Sources:
    """What config.json with these values, and the environment if one is given, would give.

    Raises:
        ConfigError: a variable holds a value that is none, or a layer two for one setting.
    """
    kept = _by_place([Assignment(find(name), value, CONFIG_FILE) for name, value in values.items()], CONFIG_FILE)
    given = _by_place(_from_environment(environ or {}), "The environment")
    counting = dict(kept)
    for place, entry in given.items():
        before = kept.get(place)
        if entry.setting.kind == "choice" and (before is None or before.value != entry.value):
            counting = {key: below for key, below in counting.items() if _belongs_to(below) != place or key in given}
        tables = before is not None and isinstance(before.value, dict) and isinstance(entry.value, dict)
        # Tables add up: a mapping in the environment does not take away the others in config.json.
        counting[place] = replace(entry, value=before.value | entry.value) if tables and before else entry
    outside = {place: entry for place, entry in counting.items() if not entry.setting.path}
    for name in outside[PACKAGES].value if PACKAGES in outside else ():
        if not _PACKAGE.fullmatch(name):
            raise ConfigError(f"{PACKAGES}: {name!r} is no package.", fix="Name it as in an import.")
    inside = {place: entry for place, entry in counting.items() if place not in outside}
    return Sources(home, inside, {name: entry for name, entry in outside.items() if entry.value})


def placed(overrides: Sequence[str]) -> tuple[str, ...]:
    """The overrides of a command line by Lightning's names.

    Raises:
        ConfigError: one that is none, a secret, or two values for the two names of one.
    """
    found: list[str] = []
    values: list[tuple[str, str]] = []
    for override in overrides:
        if not _OVERRIDE.match(override):
            raise ConfigError(f"{override!r} is not a setting.", fix="Write KEY=VALUE, for example preset=quick-test.")
        key, equals, value = override.partition("=")
        name = key.lstrip("+~")
        last = name.rpartition(".")[2]
        if last == PACKAGES:
            raise no_setting(name, [])
        if last in SECRET_NAMES:
            raise ConfigError(
                f"{name} does not belong on a command line, where others can read it.",
                fix=f"Keep it with: decloud-trainer config --set {last}=-",
            )
        values.append((name, value))
        found.append(f"{key.removesuffix(name)}{ALIASES.get(name, name)}{equals}{to_place(name, value)}")
    by_place("The command line", values)
    return tuple(found)


def secret_variables() -> list[str]:
    """The environment variables that may hold a secret."""
    return [*(_variable(find(name)) for name in SECRET_NAMES), *_PINATA]


def _variable(setting: Setting) -> str:
    """The environment variable of a setting: ``DECLOUD_EPOCHS``, ``DECLOUD_NETWORK_RPC_URL``."""
    return f"{_PREFIX}{setting.name.replace('.', '_').upper()}"


def _belongs_to(entry: Assignment) -> str | None:
    """The group of a value that makes sense for one choice only: an RPC address for its network, a key for its class.

    Those of the other groups are named so that they do for every choice, for example ``storage.kubo_address``; so
    are short names, which every choice has.
    """
    group, dot, _ = entry.setting.path.partition(".")
    return group if dot and entry.setting.place == entry.setting.path and group in ("network", *free_groups()) else None


def _by_place(entries: Sequence[Assignment], where: str) -> dict[str, Assignment]:
    values = by_place(where, ((entry.setting.path or entry.setting.name, entry.value) for entry in entries))
    by_setting = {entry.setting.place or entry.setting.name: entry for entry in entries}
    return {place: replace(by_setting[place], value=value) for place, value in values.items()}


def _from_environment(environ: Mapping[str, str]) -> list[Assignment]:
    settings = (*settings_by_name().values(), *map(find, ALIASES.values()))
    by_variable = {_variable(setting): setting for setting in settings}
    by_variable |= {variable: find(name) for variable, name in _PINATA.items()}
    found: list[Assignment] = []
    for variable, text in environ.items():
        if variable in by_variable and text:
            setting = by_variable[variable]
            found.append(Assignment(setting, from_text(setting, text, variable), variable))
        elif variable.startswith(_PREFIX) and variable not in (*_NOT_SETTINGS, *by_variable):
            # Not an error: it may be meant for another program.
            hint = nearest(variable, [name for name in by_variable if name.startswith(_PREFIX)])
            logger.warning("The environment variable %s is no setting. %s", variable, hint)
    return found
