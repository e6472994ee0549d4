"""The settings in force: built-in < preset < experiment < config.json < environment < command line.

Hydra composes them. config.json and the environment are the last entry of its defaults list.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from decloud_pl.config_dir import config_dir
from decloud_pl.errors import ConfigError
from decloud_pl.redact import redact
from decloud_pl.settings.aliases import ALIASES, one_of_two, shown, text_to_place
from decloud_pl.settings.layers import Layers, layers_of, read_layers
from decloud_pl.settings.names import PACKAGES, PRESET, no_setting
from decloud_pl.settings.network import honour_solana_cli
from decloud_pl.settings.private import hide, private, revealed
from decloud_pl.settings.schema import USER_CONF, DataConfig, Settings, Tree, check, default_home
from decloud_pl.settings.secrets import SECRET_NAMES, Secrets
from decloud_pl.settings.values import Value, hydra_text

if TYPE_CHECKING:
    from omegaconf import DictConfig

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_BRACKETS = ('"', "'", "[", "{")
_OVERRIDE = re.compile(r"^((\+{1,2})?[A-Za-z_][\w./@:-]*=.*|~[A-Za-z_][\w./@:-]*(=.*)?)$", re.DOTALL)


@dataclass(frozen=True)
class Sources:
    """Where settings come from in one run.

    Attributes:
        layers: config.json and the environment.
        overrides: the command line's, in Hydra's grammar and by Lightning's names.
        conf: the built-in ``conf/``.
        sweep: whether a comma in an override stands between values.
    """

    layers: Layers
    overrides: tuple[str, ...]
    conf: Path
    sweep: bool = False

    @property
    def own_conf(self) -> Path | None:
        """The user's own choices of groups."""
        folder = None if self.layers.home is None else self.layers.home / USER_CONF
        return folder if folder is not None and folder.is_dir() else None

    @property
    def folders(self) -> list[Path]:
        """Where choices of groups are."""
        return [self.conf, *([self.own_conf] if self.own_conf else [])]


@dataclass(frozen=True)
class Composed:
    """What Hydra made of `Sources`.

    Attributes:
        settings: checked.
        choices: of each group.
    """

    settings: Settings
    choices: Mapping[str, str]

    @property
    def preset(self) -> str:
        return self.choices[PRESET]


def sources(overrides: Sequence[str] = (), *, environ: Mapping[str, str] = os.environ, sweep: bool = False) -> Sources:
    """Reads config.json and the environment; the command line's overrides come on top.

    Raises:
        ConfigError: one of them is not what it should be.
    """
    return Sources(read_layers(default_home(environ), environ), placed(overrides), config_dir(), sweep)


def sources_of(values: Mapping[str, Value], home: Path) -> Sources:
    """What config.json with these values would give, with nothing above it."""
    return Sources(layers_of(values, home, {}), (), config_dir())


def load(overrides: Sequence[str] = (), *, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings in force.

    Args:
        overrides: further ones, as on a command line of Hydra's.
        environ: ``DECLOUD_HOME`` in it names the folder of config.json.

    Raises:
        ConfigError: a file, a variable or an override is not what it should be.
    """
    return composed(sources(overrides, environ=environ)).settings


def compose(overrides: Sequence[str] = (), *, secrets: Secrets | None = None) -> Settings:
    """The settings of ``conf/`` and overrides such as ``preset=quick-test`` alone, with nothing of this user's.

    Raises:
        ConfigError: an unknown key, group choice or value, named with the nearest right one.
    """
    settings = composed(Sources(Layers(None, {}, {}), placed(overrides), config_dir())).settings
    settings.secrets = secrets or settings.secrets
    return settings


def composed(given: Sources) -> Composed:
    """Lets Hydra compose what `sources` has read.

    Raises:
        ConfigError: see `load`.
    """
    # Hydra takes 150 ms to import, which must not be paid for --help.
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import open_dict
    from omegaconf.errors import OmegaConfBaseException

    from decloud_pl.settings.refusals import explain

    try:
        overrides = hydra_overrides(given)
        with initialize_config_dir(config_dir=str(given.conf), version_base="1.3", job_name="decloud_pl"):
            tree = hydra_compose("config", overrides=overrides, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, TypeError, ValueError) as error:
        raise explain(error, given) from error
    with open_dict(tree):
        choices = dict(tree.pop("hydra").runtime.choices)
    return from_tree(tree, given, choices)


def hydra_overrides(given: Sources) -> list[str]:
    """Makes what is below the command line known to Hydra, and gives the overrides to compose it with."""
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins
    from omegaconf import OmegaConf

    from decloud_pl.settings.own_files import SCHEME, OwnFiles

    Plugins.instance().register(OwnFiles)
    OmegaConf.register_new_resolver("alias", _alias, replace=True)
    OmegaConf.register_new_resolver("private", private, replace=True)
    store = ConfigStore.instance()
    store.store(name="schema", node=Tree)
    node = OmegaConf.create(given.layers.node(given.overrides))
    store.store(group="user", name="settings", node=node, package="_global_")
    own = given.own_conf
    path = [] if own is None else [f"hydra.searchpath=[{hydra_text(f'{SCHEME}://{own.resolve()}')}]"]
    return [*path, *(_opened(override, sweep=given.sweep) for override in given.overrides)]


def from_tree(tree: DictConfig, given: Sources, choices: Mapping[str, str]) -> Composed:
    """The settings of a tree that Hydra has composed, checked.

    Raises:
        ConfigError: a key that does not exist, or a value of the wrong type or out of range.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from decloud_pl.settings.origins import given_places
    from decloud_pl.settings.refusals import unknown_key, wrong_value

    try:
        with revealed():
            plain = cast(Tree, OmegaConf.to_object(tree))
    except (OmegaConfBaseException, RecursionError) as error:
        key = str(getattr(error, "full_key", "") or "")
        raise wrong_value(
            error, key, OmegaConf.select(tree, ALIASES.get(key, key), throw_on_resolution_failure=False)
        ) from error
    refusal = unknown_key(plain)
    if refusal is not None:
        raise refusal
    settings = Settings(
        **{name: getattr(plain, name) for name in (entry.name for entry in fields(Tree))},
        secrets=given.layers.secrets,
        allow_packages=list(given.layers.allow_packages),
        given=given_places(given, choices),
    )
    honour_solana_cli(settings.network)
    check(settings)
    if "entry" in settings.dataset:
        settings.dataset["data"] = {entry.name: getattr(settings.data, entry.name) for entry in fields(DataConfig)}
    return Composed(settings, choices)


def placed(overrides: Sequence[str]) -> tuple[str, ...]:
    """The overrides of a command line by Lightning's names.

    Raises:
        ConfigError: one that is none, a secret, or two values for the two names of one.
    """
    found: list[str] = []
    named: dict[str, tuple[str, str]] = {}
    for override in overrides:
        if not _OVERRIDE.match(override):
            raise ConfigError(f"{override!r} is not a setting.", fix="Write KEY=VALUE, for example preset=quick-test.")
        key, equals, value = override.partition("=")
        name = key.lstrip("+~")
        _refuse_secret(name)
        place, value = ALIASES.get(name, name), text_to_place(name, value)
        before, other = named.setdefault(place, (name, value))
        if before != name and other != value:
            raise one_of_two("The command line", before, other, name, value)
        found.append(f"{key.removesuffix(name)}{place}{equals}{value}")
    return tuple(found)


def _refuse_secret(key: str) -> None:
    name = key.rpartition(".")[2]
    if name == PACKAGES:
        raise no_setting(key, [])
    if name in SECRET_NAMES:
        raise ConfigError(
            f"{key} does not belong on a command line, where others can read it.",
            fix=f"Keep it with: decloud-trainer config --set {name}=-",
        )


def _opened(override: str, *, sweep: bool) -> str:
    """Lets an override add to the settings whose keys are the user's own, take paths and addresses as they are, and
    hold no private address.

    Hydra itself would ask for ``++`` and for quotes around some of their characters.
    """
    key, equals, value = override.partition("=")
    simple = not value.startswith(_BRACKETS) and not (sweep and "," in value)
    if simple and (redact(value) != value or "${oc.env:" in value):
        value = str(hide(f"override.{key}", value))
    elif simple and "${" not in value and (_ADDRESS.match(value) or key.startswith("paths.")):
        value = hydra_text(value)
    elif not simple:
        value = redact(value, lambda address: str(hide(f"override.{key}.{len(address)}", address)))
    added = "++" if re.match(r"(mappings|paths)\b", key) else ""
    return f"{added}{key}{equals}{value}"


def _alias(place: str, *, _root_: DictConfig) -> Any:
    """What a short name shows of the value at its place."""
    from omegaconf import OmegaConf

    return shown(place, OmegaConf.select(_root_, place))
