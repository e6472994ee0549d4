"""Show settings with their values and origins, and the list of presets."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decloud_pl.cli.ui.output import print_json, print_table, to_display
from decloud_pl.config.file import ConfigFile
from decloud_pl.config.layers import Assignment, Sources, sets, sources
from decloud_pl.config.names import (
    ALIASES,
    OLD,
    PACKAGES,
    PLAIN_NAMES,
    PRESET,
    SHORT,
    choices,
    leaves,
    secret_names,
    settings_by_name,
)
from decloud_pl.config.schema import CONFIG_FILE, default_home
from decloud_pl.config_dir import USER_CONF, config_dir
from decloud_pl.errors import ConfigError
from decloud_pl.redact import redact_tree

if TYPE_CHECKING:
    from decloud_pl.config.load import Composed


MAIN = (
    *("private_key", "keypair_path", "preset", "network", "storage", "datasets", "min_reward", "max_reward", "epochs"),
    *("batch_size", "learning_rate", "max_batches", "max_concurrent_rounds", "auto_train", "auto_claim"),
    *("poll_interval", "mappings", "paths"),
)
"""The most common settings, in display order."""


@dataclass(frozen=True)
class Shown:
    """A setting as ``config --show`` prints it, with secrets masked and URLs redacted. For ``kind``, see `Setting`."""

    name: str
    value: Any
    kind: str
    origin: str


def show(composed: Composed) -> list[Shown]:
    """Return every setting with its value and origin, the most common ones first."""
    settings, given = composed.settings, composed.sources
    found: list[Shown] = []
    known, outside = settings_by_name(given.home), (*secret_names(given.home), PACKAGES)
    for name in dict.fromkeys((*MAIN, *known)):
        setting = known[name]
        place = ALIASES.get(setting.path, setting.path)
        value: Any
        if name in outside:
            value = list(settings.allow_packages) if name == PACKAGES else settings.secrets.shown(name)
        elif setting.kind != "choice":
            value = redact_tree(value_at(settings, setting.path))
        elif name in composed.choices:
            value = composed.choices[name]
        else:  # for a list of choices, Hydra stores only the merged keys
            value = list(value_at(settings, name) or ())
            if not value:
                continue
        found.append(Shown(name, value, setting.kind, given.origin(place)))
    # A key of a group without a fixed schema is shown only if config.json sets it, or if its short name cannot express
    # the value.
    own = [entry.name for entry in given.kept.values() if entry.name not in (*leaves(given.home), *OLD, *outside)]
    own += [place for short, place in SHORT.items() if value_at(settings, short) is None and place not in own]
    return found + [Shown(name, redact_tree(value_at(settings, name)), "any", given.origin(name)) for name in own]


def value_at(settings: object, place: str) -> Any:
    """Return the value at a place such as ``optimizer.lr``, or None if a group without a fixed schema lacks the key."""
    value: Any = settings
    for part in place.split("."):
        value = value.get(part) if isinstance(value, dict) else getattr(value, part, None)
    return value


def warn_if_covered(given: Sources) -> list[str]:
    """Warn on stderr about the preset's settings that config.json overrides, and return their names.

    If a choice in config.json, such as ``rewards=any``, overrides a setting, the returned name is that of the group.
    """
    _, preset = given.files
    covering = [
        place.partition(".")[0] if place in given.defined else PLAIN_NAMES.get(entry.name, entry.name)
        for place, entry in given.kept.items()
        if entry.origin == CONFIG_FILE and any(sets(key, place) for key in preset)
    ]
    kept = list(dict.fromkeys(covering))
    if kept:
        names = " ".join(f"--unset {name}" for name in kept)
        chosen = next(layer[PRESET].value for layer in given.layers if PRESET in layer)
        print(
            f"config.json overrides {', '.join(kept)} of the preset {chosen}. "
            f"To use the preset's values: decloud-trainer config {names}",
            file=sys.stderr,
        )
    return kept


def print_settings(overrides: Sequence[str], *, json: bool, origin: bool) -> None:
    """Print the settings in force."""
    from decloud_pl.config.load import composed

    entries = show(composed(sources(overrides)))
    path = ConfigFile(default_home()).path
    if json:
        document = {"path": str(path), "settings": {entry.name: entry.value for entry in entries}}
        if origin:
            document["origins"] = {entry.name: entry.origin for entry in entries}
        print_json(document)
        return
    rows = [[entry.name, to_display(entry.value, entry.kind) or "-", entry.origin] for entry in entries]
    if origin:
        print_table(["setting", "value", "origin"], rows, flexible=1)
    else:
        print_table(["setting", "value"], [row[:2] for row in rows])
    print(f"\nSaved in {path}" if path.exists() else f"\n{path} does not exist yet")


@dataclass(frozen=True)
class _Preset:
    """A preset for ``config --preset list``. If it does not set ``datasets`` or ``min_reward``, that field is None."""

    name: str
    about: str
    own: bool
    datasets: list[str] | None
    min_reward: str | None


def print_presets(*, json: bool) -> None:
    """Print the presets, each with the first comment line of its file, its minimum reward and its data sets."""
    home = default_home()
    own = home / USER_CONF
    presets = [
        _preset(home, name, folder / "preset" / f"{name}.yaml", own=folder == own)
        for folder in (config_dir(), own)
        for name in choices("preset", folder)
    ]
    if json:
        print_json({"presets": [asdict(one) for one in presets]})
        return
    rows = []
    for one in presets:
        rows.append([one.name, one.min_reward or "-", one.about])
        if one.datasets is not None:
            rows.append(["", "", ", ".join(one.datasets) or "any data set"])
    print_table(["preset", ">min_reward", "description and data sets"], rows)
    print(f"\nYour own presets go into {own / 'preset'}")


def _preset(home: Path, name: str, file: Path, *, own: bool) -> _Preset:
    from yaml import YAMLError

    try:
        _, layer = Sources(home, {PRESET: Assignment(PRESET, name, CONFIG_FILE)}).files
    except (OSError, ValueError, YAMLError, ConfigError):
        return _Preset(name, "cannot be read", own, None, None)
    datasets = layer["datasets"].value if "datasets" in layer else None
    least = str(layer["rewards.min"].value) if "rewards.min" in layer else None
    if least is None and "rewards" in layer:
        least = f"rewards={layer['rewards'].value}"
    return _Preset(name, _about(file), own, list(map(str, datasets)) if isinstance(datasets, list) else None, least)


def _about(path: Path) -> str:
    """Return the first comment line of a preset's file. Skip Hydra directives such as ``# @package``."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return "cannot be read"
    comments = (line.removeprefix("#").strip() for line in lines if line.startswith("#"))
    return next((line for line in comments if line and not line.startswith("@")), "")
