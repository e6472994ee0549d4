"""What is set where: config.json below the environment, and who wins.

Each assignment remembers its origin. The command line comes after all of these, as Hydra overrides.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from decloud_pl.errors import ConfigError
from decloud_pl.settings.file import ConfigFile
from decloud_pl.settings.names import Setting, find, free_groups, groups, nearest, settings_by_name
from decloud_pl.settings.schema import CONFIG_FILE
from decloud_pl.settings.secrets import SECRET_NAMES, Secrets
from decloud_pl.settings.values import Value, from_text, to_overrides

logger = logging.getLogger(__name__)

COMMAND_LINE = "command line"
_PREFIX = "DECLOUD_"
_NOT_SETTINGS = ("DECLOUD_HOME", "DECLOUD_NO_SKIPS")
_PINATA = {
    "PINATA_API_KEY": "pinata_api_key",
    "PINATA_SECRET_KEY": "pinata_secret_key",
    "PINATA_SECRET_API_KEY": "pinata_secret_key",
    "PINATA_JWT": "pinata_jwt",
}


@dataclass(frozen=True, slots=True)
class Assignment:
    """A value and where it was given."""

    setting: Setting
    value: Value
    origin: str


@dataclass(frozen=True)
class Layers:
    """The assignments that count, at most one for each setting, and the secrets."""

    assignments: tuple[Assignment, ...]
    secrets: Secrets
    secret_origins: Mapping[str, str]

    def choices(self) -> dict[str, Assignment]:
        """The groups whose choice is set, by name."""
        return {entry.setting.name: entry for entry in self.assignments if entry.setting.kind == "choice"}

    def overrides(self, *, without: Sequence[str] = ()) -> list[str]:
        """As Hydra overrides, to stand before those of the command line.

        Args:
            without: overrides of the command line. Hydra refuses two choices of one group, and who chooses
                another network there does not want what belongs to the one in config.json.
        """
        chosen = override_choices(without)
        own = {name: entry.value for name, entry in self.choices().items()}
        texts: list[str] = []
        for entry in self.assignments:
            group = entry.setting.path.partition(".")[0]
            left_behind = _belongs_to_its_choice(group) and own.get(group) != chosen.get(group)
            if group in chosen and (entry.setting.kind == "choice" or left_behind):
                continue
            texts += to_overrides(entry.setting, entry.value)
        return texts


def read_layers(home: Path, environ: Mapping[str, str]) -> Layers:
    """Reads config.json and the environment.

    Raises:
        ConfigError: one of them holds a value that is none, or config.json a name that is no setting.
    """
    return layers_of(ConfigFile(home).read(), home, environ)


def layers_of(values: Mapping[str, Value], home: Path, environ: Mapping[str, str]) -> Layers:
    """The layers that config.json with these values would give.

    Raises:
        ConfigError: a variable holds a value that is none.
    """
    kept = [Assignment(find(name), value, CONFIG_FILE) for name, value in values.items()]
    given = _from_environment(environ)
    secrets: dict[str, str] = {}
    origins: dict[str, str] = {}
    for entry in (*kept, *given):
        if entry.setting.kind == "secret" and isinstance(entry.value, str) and entry.value:
            secrets[entry.setting.name] = entry.value
            origins[entry.setting.name] = entry.origin
    plain = (entry for entry in (*kept, *given) if entry.setting.kind != "secret")
    return Layers(_winners(list(plain)), Secrets(secrets, home=str(home)), origins)


def override_choices(overrides: Sequence[str]) -> dict[str, str]:
    """The group choices among Hydra overrides."""
    pairs = (override.lstrip("+").partition("=") for override in overrides)
    return {key: value for key, equals, value in pairs if equals and key in groups()}


def _belongs_to_its_choice(group: str) -> bool:
    """Whether a group's values make sense for one choice only: an RPC address for its network, a setting for its class.

    Those of the other groups are named so that they do for every choice, for example ``storage.kubo_address``.
    """
    return group == "network" or group in free_groups()


def _winners(entries: list[Assignment]) -> tuple[Assignment, ...]:
    """Of several assignments of a setting the last; and none below a group that is chosen anew after it."""
    found: dict[str, Assignment] = {}
    for entry in entries:
        name = entry.setting.name
        before = found.get(name)
        anew = entry.setting.kind == "choice" and (before is None or before.value != entry.value)
        if anew and _belongs_to_its_choice(name):
            other = {
                key: below
                for key, below in found.items()
                if below.origin != entry.origin and below.setting.path.startswith(f"{name}.")
            }
            for key in other:
                del found[key]
        found[name] = _merged(before, entry)
    return tuple(found.values())


def _merged(before: Assignment | None, entry: Assignment) -> Assignment:
    """Tables add up: a mapping in the environment does not take away the others in config.json."""
    if before is None or not (isinstance(before.value, dict) and isinstance(entry.value, dict)):
        return entry
    return Assignment(entry.setting, {**before.value, **entry.value}, entry.origin)


def _from_environment(environ: Mapping[str, str]) -> list[Assignment]:
    by_variable = {variable_of(setting): setting for setting in settings_by_name().values()}
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


def variable_of(setting: Setting) -> str:
    """The environment variable of a setting: ``DECLOUD_EPOCHS``, ``DECLOUD_NETWORK_RPC_URL``."""
    return f"{_PREFIX}{setting.name.replace('.', '_').upper()}"


def secret_in_override(override: str) -> ConfigError | None:
    """The refusal of a secret on the command line, where every user of the machine can read it."""
    key = override.lstrip("+~").partition("=")[0]
    if key.rpartition(".")[2] not in SECRET_NAMES:
        return None
    return ConfigError(
        f"{key} does not belong on a command line, where others can read it.",
        fix=f"Keep it with: decloud-trainer config --set {key.rpartition('.')[2]}=-",
    )
