"""What is set above the built-in layer: preset < experiment < config.json < environment < command line.

Each layer maps places in the tree to what it sets there, so that every value has an origin.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from decloud_pl.config import names
from decloud_pl.config.file import ConfigFile
from decloud_pl.config.names import ALIASES, EXPERIMENT, PACKAGES, PRESET, find, groups, secret_names, storages
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
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_PACKAGE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True, slots=True)
class Assignment:
    """A value as it was written: by which name, and where."""

    name: str
    value: Any
    origin: str

    @property
    def placed(self) -> Any:
        """The value as Lightning has it."""
        return names.to_place(self.name, self.value)


Layer: TypeAlias = Mapping[str, Assignment]


@dataclass(frozen=True)
class Sources:
    """Where the settings of one run come from.

    Attributes:
        home: the folder of config.json; None where neither it nor the environment counts.
        assignments: config.json and the environment; what never enters the tree, such as a secret, by its name.
        command_line: what the overrides set, by places in the tree.
        overrides: the command line's, in Hydra's grammar and by Lightning's names.
    """

    home: Path | None = None
    assignments: Layer = field(default_factory=dict)
    command_line: Layer = field(default_factory=dict)
    overrides: tuple[str, ...] = ()

    def with_overrides(self, overrides: Sequence[str], *, sweep: bool = False) -> Sources:
        """The same below another command line; in a ``sweep`` a comma stands between values.

        Raises:
            ConfigError: an override is not a setting, is a secret, or contradicts another.
        """
        found = [_override(text, secret_names(self.home), sweep=sweep) for text in overrides]
        typed = _layer("The command line", (entry for _, entries in found for entry in entries))
        return replace(self, command_line=typed, overrides=tuple(text for text, _ in found))

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where choices of groups are."""
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
        """What of config.json and the environment counts below the command line."""
        return _below(self.assignments, self.command_line)

    @cached_property
    def files(self) -> list[Layer]:
        """The layers of the chosen experiment and of the chosen preset.

        Raises:
            ConfigError: a file sets a value by two names, and not to the same.
            OSError, YAMLError: a file cannot be read.
        """
        chosen = {**self.assignments, **self.command_line}
        experiment = self._file(EXPERIMENT, chosen)
        return [experiment, self._file(PRESET, {**experiment, **chosen})]

    def _file(self, group: str, chosen: Layer) -> Layer:
        return _layer_of_file(self.folders, group, str(chosen[group].value)) if group in chosen else {}

    @property
    def layers(self) -> list[Layer]:
        """Every layer above the built-in one, the strongest first."""
        return [self.command_line, self.kept, *self.files]

    def of_training(self) -> tuple[str, ...]:
        """What is set of a training, the choices of groups included."""
        places = {place for layer in self.layers for place in layer}
        return tuple(sorted(place for place in places if place.partition(".")[0] in _OF_A_TRAINING))

    def origin(self, place: str) -> str:
        """The strongest layer that sets a place, or failing that the choice of its group."""
        for key, entry in (pair for layer in self.layers for pair in layer.items()):
            if sets(key, place):
                return entry.origin
        group = place.partition(".")[0]
        return BUILT_IN if group == place else self.origin(group)

    def written(self, name: str) -> str:
        """The name by which the strongest layer sets a value, where it has several names."""
        place = ALIASES.get(name, name)
        found = next((layer[place].name for layer in self.layers if place in layer), name)
        return found if place in self.command_line else names.PLAIN_NAMES.get(found, found)


def sources(overrides: Sequence[str] = (), *, environ: Mapping[str, str] = os.environ, sweep: bool = False) -> Sources:
    """Reads config.json and the environment; the command line's overrides come on top.

    Raises:
        ConfigError: one of them is not what it should be.
    """
    home = default_home(environ)
    return sources_of(ConfigFile(home).read(), home, environ).with_overrides(overrides, sweep=sweep)


def sources_of(values: Mapping[str, Value], home: Path, environ: Mapping[str, str] | None = None) -> Sources:
    """What config.json with these values, and the environment if one is given, would give.

    Raises:
        ConfigError: a variable holds a value that its setting does not take, or a layer two for one setting.
    """
    kept = _layer(CONFIG_FILE, (Assignment(find(key, home).path, one, CONFIG_FILE) for key, one in values.items()))
    given = _layer("The environment", _variables(environ or {}, home))
    merged = {**_below(kept, given), **given}
    for place in kept.keys() & given.keys():
        below, above = kept[place].value, given[place].value
        if isinstance(below, dict) and isinstance(above, dict):
            # Tables add up: a mapping in the environment does not take away the others in config.json.
            merged[place] = replace(given[place], value=below | above)
    for name in merged[PACKAGES].value if PACKAGES in merged else ():
        if not _PACKAGE.fullmatch(name):
            raise ConfigError(f"{PACKAGES}: {name!r} is not the name of a package.", fix="Name it as in an import.")
    return Sources(home, merged)


def leaves_of(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings and dataclasses by places."""
    for key, value in tree.items():
        if is_dataclass(value):
            value = vars(value)  # noqa: PLW2901
        if isinstance(value, dict) and value:
            yield from leaves_of(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _layer(where: str, entries: Iterable[Assignment]) -> dict[str, Assignment]:
    """One layer by places; of each name the last value counts.

    Raises:
        ConfigError: both names of one value are set, and not to the same.
    """
    found: dict[str, Assignment] = {}
    for entry in {entry.name: entry for entry in entries}.values():
        other = found.setdefault(ALIASES.get(entry.name, entry.name), entry)
        if other.placed != entry.placed:
            raise ConfigError(
                f"{where} sets {other.name} to {other.value} and {entry.name} to {entry.value}, "
                "but these are two names of one value.",
                fix=f"Keep only {other.name} or only {entry.name}.",
            )
    return found


def _below(layer: Layer, above: Layer) -> Layer:
    """A layer without what belongs to a choice that the layer above changes: an RPC address is for its network."""
    # Settings of other groups, such as those of a storage, and short names do for every choice.
    chosen = [group for group in ("network", *names.free_groups()) if group in above]
    changed = tuple(f"{one}." for one in chosen if one not in layer or layer[one].value != above[one].value)
    return {place: one for place, one in layer.items() if one.name in ALIASES or not place.startswith(changed)}


def sets(key: str, place: str) -> bool:
    """Whether to set one is to set the other: a choice does not set the values in its group."""
    inside = key.startswith(f"{place}.") or place.startswith(f"{key}.")
    return key == place or (inside and key not in groups() and place not in groups())


def _layer_of_file(folders: Sequence[Path], group: str, name: str) -> Layer:
    """What a preset or an experiment sets, the groups that it chooses and the files that it builds on included."""
    from omegaconf import OmegaConf

    file = next((path for folder in folders if (path := folder / group / f"{name}.yaml").is_file()), None)
    tree: Any = {} if file is None else OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    if not isinstance(tree, dict):
        return {}
    defaults = tree.pop("defaults", [])
    found: dict[str, Any] = {}
    for entry in defaults if "_self_" in defaults else [*defaults, "_self_"]:
        if isinstance(entry, dict):
            pairs: Iterable[tuple[str, Any]] = ((key.rpartition("/")[2], choice) for key, choice in entry.items())
        elif entry == "_self_":
            pairs = leaves_of(tree)
        else:
            pairs = ((one.name, one.value) for one in _layer_of_file(folders, group, str(entry)).values())
        found |= _layer(str(file), (Assignment(key, value, f"{group} {name}") for key, value in pairs))
    return found


def variable_of(name: str) -> str:
    """The environment variable of a setting: ``DECLOUD_EPOCHS``, ``DECLOUD_NETWORK_RPC_URL``."""
    return f"{_PREFIX}{name.replace('.', '_').upper()}"


def _variables(environ: Mapping[str, str], home: Path) -> Iterator[Assignment]:
    """The settings in the environment."""
    every = (*names.settings_by_name(home), *ALIASES, *ALIASES.values())
    known = {**storages(home).variables, **{variable_of(name): name for name in every}}
    for variable, text in environ.items():
        if variable in known and text:
            setting = find(known[variable], home)
            yield Assignment(setting.path, from_text(setting, text, variable), variable)
        elif variable.startswith(_PREFIX) and variable not in (*_NOT_SETTINGS, *known):
            # Not an error: it may be meant for another program.
            hint = nearest(variable, [name for name in known if name.startswith(_PREFIX)])
            logger.warning("The environment variable %s is not a setting. %s", variable, hint)


def _override(text: str, secrets: Sequence[str], *, sweep: bool) -> tuple[str, list[Assignment]]:
    """An override by Lightning's name, as Hydra reads it, and what it sets.

    Hydra itself asks for ``++`` before keys of the user's own, and for quotes around paths and addresses.

    Raises:
        ConfigError: the override is not a setting, or it is a secret.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    if not _OVERRIDE.match(text):
        raise ConfigError(f"{text!r} is not a setting.", fix="Write KEY=VALUE, for example preset=quick-test.")
    key, equals, value = text.partition("=")
    name = key.lstrip("+~")
    last = name.rpartition(".")[2]
    if last == PACKAGES:
        raise names.no_setting(name, [])
    if last in secrets:
        raise ConfigError(
            f"{name} does not belong on a command line, where others can read it.",
            fix=f"Keep it with: decloud-trainer config --set {last}=-",
        )
    plain = not value.startswith(('"', "'", "[", "{")) and "${" not in value and not (sweep and "," in value)
    if plain and (_URL.match(value) or name.startswith("paths.")):
        value = hydra_text(value)
    read: Any = value
    try:
        parsed = OverridesParser.create().parse_override(f"{key}{equals}{value}")
        read = value if parsed.is_sweep_override() else parsed.value()
    except HydraException:
        pass  # which says so when it composes
    sign = "++" if key == name and re.match(r"(mappings|paths)\b", name) else key.removesuffix(name)
    entries = [Assignment(place, one, COMMAND_LINE) for place, one in leaves_of({name: read})]
    return f"{sign}{ALIASES.get(name, name)}{equals}{names.to_place(name, value)}", entries
