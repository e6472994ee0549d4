"""The layers above the built-in settings: preset < experiment < config.json < environment < command line.

A place is the path of a value in the configuration tree, such as ``network.rpc_url``. A layer maps each place that it
sets to an `Assignment`, which records the value's origin.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from decloud_pl.config import names
from decloud_pl.config.file import ConfigFile, check_text
from decloud_pl.config.group_files import DEFINED_GROUPS, definition, leaves_of, parts_of
from decloud_pl.config.names import ALIASES, EXPERIMENT, PACKAGES, PLACES, PRESET, find, groups, secret_names, storages
from decloud_pl.config.schema import CONFIG_FILE, default_home
from decloud_pl.config.training import TrainingConfig
from decloud_pl.config.values import Value, from_text, hydra_text
from decloud_pl.config_dir import conf_folders
from decloud_pl.errors import ConfigError, nearest
from decloud_pl.own_memory import PASS_ENV
from decloud_pl.secrets import Secrets

logger = logging.getLogger(__name__)

BUILT_IN, COMMAND_LINE = "built-in", "command line"
_OF_A_TRAINING = ("model", *(entry.name for entry in fields(TrainingConfig)))
_PREFIX = "DECLOUD_"
_NOT_SETTINGS = ("DECLOUD_HOME", "DECLOUD_NO_SKIPS", PASS_ENV)
_OVERRIDE = re.compile(r"^((\+{1,2})?[A-Za-z_][\w./@:-]*=.*|~[A-Za-z_][\w./@:-]*(=.*)?)$", re.DOTALL)
_LITERAL = re.compile(r"[a-z][a-z0-9+.-]*://|[~/]", re.IGNORECASE)  # a URL or a path
_PACKAGE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True, slots=True)
class Assignment:
    """A value, the name under which it was set, and its origin: a file, a variable, a preset or the command line."""

    name: str
    value: Any
    origin: str

    @property
    def placed(self) -> Any:
        """The value in the form in which the tree stores it; see `names.to_place`."""
        return names.to_place(self.name, self.value)


Layer: TypeAlias = Mapping[str, Assignment]


@dataclass(frozen=True)
class Sources:
    """The sources of one run's settings.

    Attributes:
        home: the folder of config.json; None if neither config.json nor the environment is read.
        assignments: the values set in config.json and the environment. They include secrets and other settings that
            are not in the configuration tree.
        command_line: the values set on the command line.
        overrides: the arguments that set ``command_line``, in Hydra's grammar. They use full paths, such as
            ``optimizer.lr``, instead of short names, such as ``learning_rate``.
    """

    home: Path | None = None
    assignments: Layer = field(default_factory=dict)
    command_line: Layer = field(default_factory=dict)
    overrides: tuple[str, ...] = ()

    def with_overrides(self, overrides: Sequence[str], *, sweep: bool = False) -> Sources:
        """Return a copy with ``overrides`` as its command line.

        In a ``sweep``, an override may list several values, separated by commas.

        Raises:
            ConfigError: an override is not a setting, sets a secret, or contradicts another override.
        """
        found = [_override(text, secret_names(self.home), sweep=sweep) for text in overrides]
        typed = _layer("The command line", (entry for _, entries in found for entry in entries))
        return replace(self, command_line=typed, overrides=tuple(text for text, _ in found))

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders with the configuration groups: the built-in one, and ``conf`` in the home folder if it exists."""
        return conf_folders(self.home)

    @property
    def secrets(self) -> Secrets:
        values = {name: self.assignments[name].value for name in secret_names(self.home) if name in self.assignments}
        return Secrets(values, home=str(self.home or ""))

    @property
    def allow_packages(self) -> list[str]:
        return list(self.assignments[PACKAGES].value) if PACKAGES in self.assignments else []

    @cached_property
    def kept(self) -> Layer:
        """The layer of config.json and the environment, changed by the group choices; see `_below` and `defined`."""
        return {**_below(self.assignments, self.command_line), **self.defined}

    @cached_property
    def defined(self) -> Layer:
        """The values that define the chosen ``rewards`` and ``storage``, unless the same or a higher layer sets them.

        Raises: as `group_files.parts_of`.
        """
        chosen = {**self.assignments, **self.command_line}
        return {
            place: Assignment(place, value, chosen[group].origin)
            for group in DEFINED_GROUPS
            if group in chosen
            for place, value in definition(self.folders, group, chosen[group].value).items()
            if place not in self.assignments or _rank(self.assignments[place].origin) < _rank(chosen[group].origin)
        }

    @cached_property
    def files(self) -> list[Layer]:
        """The layers of the chosen experiment and preset. Raises: as `group_files.parts_of`."""
        chosen = {**self.assignments, **self.command_line}
        experiment = self._file(EXPERIMENT, chosen)
        return [experiment, self._file(PRESET, {**experiment, **chosen})]

    def _file(self, group: str, chosen: Layer) -> Layer:
        return _layer_of_file(self.folders, group, str(chosen[group].value)) if group in chosen else {}

    @property
    def layers(self) -> list[Layer]:
        """All layers except the built-in one, the layer with the highest precedence first."""
        return [self.command_line, self.kept, *self.files]

    def of_training(self) -> tuple[str, ...]:
        """Return the places of the training settings and group choices that at least one layer sets."""
        places = {place for layer in self.layers for place in layer}
        return tuple(sorted(filter(is_of_training, places)))

    def origin(self, place: str) -> str:
        """Return the origin of the value at a place. If no layer sets it, return the origin of its group's choice."""
        for key, entry in (pair for layer in self.layers for pair in layer.items()):
            if sets(key, place):
                return entry.origin
        group = place.partition(".")[0]
        return BUILT_IN if group == place else self.origin(group)

    def written(self, name: str) -> str:
        """Return the name by which the user set a value. Some values have several names."""
        place = PLACES.get(name, name)
        found = next((layer[place].name for layer in self.layers if place in layer), name)
        return found if place in self.command_line else names.PLAIN_NAMES.get(found, found)


def is_of_training(place: str) -> bool:
    """Return whether a place is a training setting or the choice of a training's group."""
    return place.partition(".")[0] in _OF_A_TRAINING


def sources(overrides: Sequence[str] = (), *, environ: Mapping[str, str] = os.environ, sweep: bool = False) -> Sources:
    """Read config.json and the environment, and add the overrides, which take precedence.

    Raises:
        ConfigError: a setting in config.json, in the environment or in the overrides is invalid.
    """
    home = default_home(environ)
    return sources_of(ConfigFile(home).read(), home, environ).with_overrides(overrides, sweep=sweep)


def sources_of(values: Mapping[str, Value], home: Path, environ: Mapping[str, str] | None = None) -> Sources:
    """Return the sources for given values of config.json and, optionally, an environment.

    Raises:
        ConfigError: a name or a value is invalid, or a layer sets two names of one value to different values.
    """
    check_text(values)
    kept = _layer(CONFIG_FILE, (Assignment(find(key, home).path, one, CONFIG_FILE) for key, one in values.items()))
    given = _layer("The environment", _variables(environ or {}, home))
    merged = {**_below(kept, given), **given}
    for place in kept.keys() & given.keys():
        below, above = kept[place].value, given[place].value
        if isinstance(below, dict) and isinstance(above, dict):
            # Tables are merged, so that a mapping in the environment keeps those in config.json.
            merged[place] = replace(given[place], value=below | above)
    for name in merged[PACKAGES].value if PACKAGES in merged else ():
        if not _PACKAGE.fullmatch(name):
            raise ConfigError(
                f"{PACKAGES}: {name!r} is not a package name.", fix="Write it as in an import, for example my_package."
            )
    return Sources(home, merged)


def _layer(where: str, entries: Iterable[Assignment]) -> dict[str, Assignment]:
    """Return the layer that consists of ``entries``. If a name occurs twice, its last assignment applies.

    Raises:
        ConfigError: two names of the same value are set to different values.
    """
    found: dict[str, Assignment] = {}
    for entry in {names.PLAIN.get(entry.name, entry.name): entry for entry in entries}.values():
        places = PLACES if entry.origin == COMMAND_LINE else ALIASES  # files must use the names that Hydra has
        other = found.setdefault(places.get(entry.name, entry.name), entry)
        if other.placed != entry.placed:
            raise ConfigError(
                f"{where} sets {other.name} to {other.value} and {entry.name} to {entry.value}, "
                "but both are names of the same value.",
                fix=f"Keep only {other.name} or only {entry.name}.",
            )
    return found


def _below(layer: Layer, above: Layer) -> Layer:
    """Return ``layer`` without the values in the groups for which ``above`` chooses something else than ``layer``.

    For example, if the command line chooses another network, ``network.rpc_url`` in config.json does not apply. A value
    that was set under a short or old name (see `names.ALIASES`) always applies.
    """
    # Short names apply to every choice. So do values in other groups such as a storage; see `Sources.defined`.
    chosen = [group for group in ("network", *names.free_groups()) if group in above]
    changed = tuple(f"{one}." for one in chosen if one not in layer or layer[one].value != above[one].value)
    return {place: one for place, one in layer.items() if one.name in ALIASES or not place.startswith(changed)}


def _rank(origin: str) -> int:
    """Return the precedence of config.json, a variable or the command line. A higher number wins."""
    return {CONFIG_FILE: 0, COMMAND_LINE: 2}.get(origin, 1)


def sets(key: str, place: str) -> bool:
    """Return whether an assignment at ``key`` sets the value at ``place``, or a part of that value.

    A group choice, such as ``network=devnet``, does not count as setting the values in the group.
    """
    inside = key.startswith(f"{place}.") or place.startswith(f"{key}.")
    return key == place or (inside and key not in groups() and place not in groups())


def _layer_of_file(folders: Sequence[Path], group: str, name: str) -> Layer:
    """Return the assignments of a preset or experiment, including its group choices and the files it extends."""
    found: dict[str, Any] = {}
    for part in parts_of(folders, group, name):
        entries = (Assignment(key, value, f"{group} {name}") for key, value in part.values.items())
        found |= _layer(str(part.file), entries)
    return found


def variable_of(name: str) -> str:
    """Return the name of a setting's environment variable, such as ``DECLOUD_NETWORK_RPC_URL``."""
    return f"{_PREFIX}{name.replace('.', '_').upper()}"


def _variables(environ: Mapping[str, str], home: Path) -> Iterator[Assignment]:
    """Yield an assignment for each environment variable that sets a setting."""
    every = (*names.settings_by_name(home), *ALIASES, *ALIASES.values())
    known = {**storages(home).variables, **{variable_of(name): name for name in every}}
    for variable, text in environ.items():
        if variable in known and text:
            setting = find(known[variable], home)
            yield Assignment(setting.path, from_text(setting, text, variable), variable)
        elif variable.startswith(_PREFIX) and variable not in (*_NOT_SETTINGS, *known):
            # Only a warning, because the variable may belong to another program.
            hint = nearest(variable, [name for name in known if name.startswith(_PREFIX)])
            logger.warning("Ignoring the environment variable %s, which is not a setting. %s", variable, hint)


def _override(text: str, secrets: Sequence[str], *, sweep: bool) -> tuple[str, list[Assignment]]:
    """Check an override. Return it in Hydra's grammar, and an `Assignment` for each value that it sets.

    Hydra requires ``++`` before new keys of a table, and quotes around paths and URLs.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    if not _OVERRIDE.match(text):
        raise ConfigError(f"{text!r} does not have the form KEY=VALUE.", fix="Write for example: preset=quick-test")
    key, equals, value = text.partition("=")
    name = key.lstrip("+~")
    last = name.rpartition(".")[2]
    if last == PACKAGES:
        raise names.no_setting(name, [])
    if last in secrets:
        fix = f"Save it with: decloud-trainer config --set {last}=-"
        raise ConfigError(
            f"{name} is a secret, so it is not allowed on a command line, which other users can read.", fix=fix
        )
    plain = not value.startswith(('"', "'", "[", "{")) and "${" not in value and not (sweep and "," in value)
    if plain and (_LITERAL.match(value) or name.startswith("paths.")):
        value = hydra_text(value)
    read: Any = value
    try:
        parsed = OverridesParser.create().parse_override(f"{key}{equals}{value}")
        read = value if parsed.is_sweep_override() else parsed.value()
    except HydraException:
        pass  # composing raises the same error
    except ValueError as error:  # Python converts no text of more than 4,300 digits
        raise ConfigError(f"The number in {name} has too many digits.", fix="Write a smaller number.") from error
    sign = "++" if key == name and re.match(r"(mappings|paths)\b", name) else key.removesuffix(name)
    entries = [Assignment(place, one, COMMAND_LINE) for place, one in leaves_of({name: read})]
    return f"{sign}{PLACES.get(name, name)}{equals}{names.to_place(name, value)}", entries
