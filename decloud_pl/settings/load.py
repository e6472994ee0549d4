"""The settings in force: built-in < preset < config.json < environment < command line."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decloud_pl.config_dir import config_dir
from decloud_pl.redact import redact_tree
from decloud_pl.settings.hydra_tree import check_shape, compose, to_settings
from decloud_pl.settings.layers import COMMAND_LINE, Layers, layers_of, override_choices, read_layers
from decloud_pl.settings.names import Setting, settings_by_name
from decloud_pl.settings.plain_tree import (
    PRESET,
    Composed,
    Literal,
    NeedsHydra,
    assign,
    compose_plain,
    resolve,
    to_tree,
)
from decloud_pl.settings.schema import CONFIG_FILE, USER_CONF, Settings, default_home
from decloud_pl.settings.values import Value, hydra_text

BUILT_IN = "built-in"


@dataclass(frozen=True)
class Sources:
    """Where settings come from in one run.

    Attributes:
        layers: config.json and the environment.
        overrides: the command line's, in Hydra's grammar.
        home: the folder of config.json.
        conf: the built-in ``conf/``.
    """

    layers: Layers
    overrides: tuple[str, ...]
    home: Path
    conf: Path

    @property
    def user_conf(self) -> Path:
        return self.home / USER_CONF

    @property
    def preset(self) -> str:
        """The chosen preset's name."""
        kept = self.layers.choices().get(PRESET)
        return override_choices(self.overrides).get(PRESET) or (str(kept.value) if kept else "none")

    def hydra_overrides(self) -> list[str]:
        """Everything above the presets, the strongest last."""
        home = f"home={hydra_text(str(self.home))}"
        return [home, *self.layers.overrides(without=self.overrides), *self.overrides]


@dataclass(frozen=True)
class Shown:
    """One setting as ``config --show`` prints it; a secret only in part, of an address only scheme, host and port."""

    name: str
    value: Any
    origin: str


def sources(
    overrides: Sequence[str] = (), *, environ: Mapping[str, str] = os.environ, conf: Path | None = None
) -> Sources:
    """Reads config.json and the environment; the command line's overrides come on top.

    Raises:
        ConfigError: one of them is not what it should be.
    """
    check_shape(overrides)
    home = default_home(environ)
    return Sources(read_layers(home, environ), tuple(overrides), home, conf or config_dir())


def load(
    overrides: Sequence[str] = (), *, environ: Mapping[str, str] = os.environ, conf: Path | None = None
) -> Settings:
    """The settings in force.

    Args:
        overrides: the command line's, in Hydra's grammar.
        environ: ``DECLOUD_HOME`` in it names the folder of config.json.
        conf: the built-in ``conf/``.

    Raises:
        ConfigError: a file, a variable or an override is not what it should be.
    """
    return settings_of(sources(overrides, environ=environ, conf=conf))


def sources_of(values: Mapping[str, Value], home: Path) -> Sources:
    """What config.json with these values would give, with nothing above it."""
    return Sources(layers_of(values, home, {}), (), home, config_dir())


def settings_of(given: Sources) -> Settings:
    """Composes what `sources` has read; by Hydra only where that is needed.

    Raises:
        ConfigError: see `load`.
    """
    if not given.overrides:
        try:
            tree = to_tree(resolve(_plain(given)[0]))
        except NeedsHydra:
            pass
        else:
            return to_settings(tree, given.layers.secrets)
    return compose(
        given.hydra_overrides(), directory=given.conf, user_conf=given.user_conf, secrets=given.layers.secrets
    )


def tree_below(given: Sources) -> dict[str, Any]:
    """The tree with the command line's choices of groups but not its values. Hydra, which may be at work, is not used.

    Where only Hydra could read a file that was chosen, nothing but what config.json and the environment set.
    """
    try:
        tree: dict[str, Any] = _without_literals(resolve(_plain(given)[0]))
    except NeedsHydra:
        tree = {}
        for entry in given.layers.assignments:
            if entry.setting.kind != "choice":
                assign(tree, entry.setting.path, entry.value)
    return tree


def show(given: Sources) -> list[Shown]:
    """Every setting with its value and its origin, the main ones first.

    Raises:
        ConfigError: see `load`.
    """
    settings = settings_of(given)
    try:
        composed = _plain(given)[1]
    except NeedsHydra:
        composed = _by_hydra(given, settings)
    values = {entry.setting.name: entry for entry in given.layers.assignments}
    found: list[Shown] = []
    for name, setting in settings_by_name().items():
        if setting.kind == "secret":
            origin = given.layers.secret_origins.get(name, BUILT_IN)
            found.append(Shown(name, settings.secrets.shown(name), origin))
        else:
            value = composed.choices.get(name) if setting.kind == "choice" else _value(settings, setting)
            if setting.kind != "choice" or value is not None:
                found.append(Shown(name, redact_tree(value), _origin(given, composed, setting)))
    # Keys of a free group, for example trainer.devices, are settings only where somebody sets them.
    found += [
        Shown(name, redact_tree(_value(settings, entry.setting)), _origin(given, composed, entry.setting))
        for name, entry in values.items()
        if entry.setting.kind == "any" and name not in settings_by_name()
    ]
    return found


def covered(given: Sources) -> tuple[str, list[str]]:
    """The chosen preset and the settings of it that config.json has its own value for."""
    try:
        composed = _plain(given)[1]
    except NeedsHydra:
        composed = _by_hydra(given, settings_of(given))
    kept = [
        entry.setting.name
        for entry in given.layers.assignments
        if entry.origin == CONFIG_FILE and composed.in_preset(entry.setting)
    ]
    return composed.choices[PRESET], kept


def _plain(given: Sources) -> tuple[dict[str, Any], Composed]:
    """The tree as it is below the command line's values, and what it was made of with its choices."""
    chosen = {name: str(entry.value) for name, entry in given.layers.choices().items()}
    composed = compose_plain({**chosen, **override_choices(given.overrides)}, given.conf, given.user_conf)
    assign(composed.tree, "home", Literal(given.home))
    for entry in given.layers.assignments:
        if entry.setting.kind != "choice":
            assign(composed.tree, entry.setting.path, _literal(entry.value))
    return composed.tree, composed


def _by_hydra(given: Sources, settings: Settings) -> Composed:
    """What `compose_plain` would have said of files that only Hydra can read."""
    chosen = {name: str(entry.value) for name, entry in given.layers.choices().items()}
    chosen.update(override_choices(given.overrides))
    without = compose([f"{PRESET}=none"], directory=given.conf)
    preset = compose([f"{PRESET}={chosen[PRESET]}"], directory=given.conf, user_conf=given.user_conf)
    differing = frozenset(
        setting.path
        for setting in settings_by_name().values()
        if setting.kind not in ("secret", "choice") and _value(without, setting) != _value(preset, setting)
    )
    defaults = compose_plain({}, given.conf).choices
    named = {"network": settings.network.name, "storage": settings.storage.kind}
    return Composed({}, differing, {**defaults, **named, **chosen})


def _origin(given: Sources, composed: Composed, setting: Setting) -> str:
    keys = {override.lstrip("+~").partition("=")[0] for override in given.overrides}
    if any(
        setting.path == key or setting.path.startswith(f"{key}.") or key.startswith(f"{setting.path}.") for key in keys
    ):
        return COMMAND_LINE
    texts = given.layers.overrides(without=given.overrides)
    for entry in given.layers.assignments:
        if entry.setting.path == setting.path and any(
            text.lstrip("+").startswith((f"{setting.path}=", f"{setting.path}.")) for text in texts
        ):
            return entry.origin
    if composed.in_preset(setting):
        return f"preset {composed.choices[PRESET]}"
    group = setting.path.partition(".")[0]
    if group != setting.path and group in given.layers.choices():
        return given.layers.choices()[group].origin
    return BUILT_IN


def _value(settings: Settings, setting: Setting) -> Any:
    value: Any = settings
    for part in setting.path.split("."):
        value = value.get(part) if isinstance(value, dict) else getattr(value, part)
    return value


def _without_literals(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_literals(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_literals(item) for item in value]
    return str(value) if isinstance(value, Literal) else value


def _literal(value: Any) -> Any:
    if isinstance(value, str):
        return Literal(value)
    if isinstance(value, list):
        return [_literal(item) for item in value]
    if isinstance(value, dict):
        return {key: _literal(item) for key, item in value.items()}
    return value
