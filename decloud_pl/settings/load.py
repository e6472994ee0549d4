"""The settings in force: built-in < preset < experiment < config.json < environment < command line.

Hydra composes them. config.json and the environment are the last entry of its defaults list.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, cast

from decloud_pl.chain.solana_cli import chosen_network
from decloud_pl.secrets import Secrets
from decloud_pl.settings.aliases import ALIASES, alias, move_old_keys
from decloud_pl.settings.layers import Sources, placed, sources
from decloud_pl.settings.names import OVER_ALL, PRESET
from decloud_pl.settings.origins import Origins, values_of
from decloud_pl.settings.schema import DataConfig, Settings, Tree, check
from decloud_pl.settings.values import hydra_text

if TYPE_CHECKING:
    from omegaconf import DictConfig

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_BRACKETS = ('"', "'", "[", "{")


@dataclass(frozen=True)
class Composed:
    """What Hydra made of `Sources`: the settings, checked, the choice of each group, and what sets which place."""

    settings: Settings
    choices: Mapping[str, str]
    origins: Origins

    @property
    def preset(self) -> str:
        return self.choices[PRESET]


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
    settings = composed(Sources(overrides=placed(overrides))).settings
    settings.secrets = secrets or settings.secrets
    return settings


def composed(given: Sources) -> Composed:
    """Lets Hydra compose what `sources` has read, and checks it.

    Raises:
        ConfigError: see `load`.
    """
    from hydra.errors import HydraException
    from omegaconf import OmegaConf, open_dict
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from decloud_pl.settings.refusals import explain, unknown_key, wrong_value

    try:
        tree, choices = _tree(given, _chosen_files(given))
        if choices[PRESET] != _chosen_files(given)[PRESET]:  # the experiment chooses another
            tree, choices = _tree(given, choices)
    except (HydraException, OmegaConfBaseException, YAMLError, OSError, TypeError, ValueError) as error:
        raise explain(error, given) from error
    origins = Origins(given, choices)
    try:
        with open_dict(tree):
            del tree["hydra"]
        move_old_keys(tree, set(origins.places()))
        plain = cast(Tree, OmegaConf.to_object(tree))
    except (OmegaConfBaseException, RecursionError) as error:
        key = str(getattr(error, "full_key", "") or "")
        value = OmegaConf.select(tree, ALIASES.get(key, key), throw_on_resolution_failure=False)
        raise wrong_value(error, key, value) from error
    refusal = unknown_key(plain)
    if refusal is not None:
        raise refusal
    settings = Settings(
        **{entry.name: getattr(plain, entry.name) for entry in fields(Tree)},
        secrets=given.secrets,
        allow_packages=given.allow_packages,
        given=origins.of_training(),
    )
    network = settings.network
    if not network.rpc_url:  # network=solana-cli
        chosen = chosen_network()
        network.rpc_url, network.ws_url = chosen.json_rpc_url, network.ws_url or chosen.websocket_url
    check(settings)
    if "entry" in settings.dataset:
        settings.dataset["data"] = {entry.name: getattr(settings.data, entry.name) for entry in fields(DataConfig)}
    return Composed(settings, choices, origins)


def hydra_overrides(given: Sources, overrides: Sequence[str], files: Mapping[str, str] | None = None) -> list[str]:
    """Makes what is below the command line known to Hydra, and gives the overrides to compose it with.

    ``files`` are the chosen preset and experiment, where they are known better than the layers say.
    """
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("alias", alias, replace=True)
    # Hydra adds a file's values by the names that the file uses. Those of two names are added again here.
    by_files: dict[str, Any] = {}
    for group in OVER_ALL:
        values = values_of(given.folders, group, (files or _chosen_files(given))[group])
        by_files |= {place: values[place] for place in ALIASES.values() if place in values}
    store = ConfigStore.instance()
    store.store(name="schema", node=Tree)
    store.store(group="user", name="settings", node=OmegaConf.create(given.node(by_files)), package="_global_")
    path = [f"hydra.searchpath=[{hydra_text(f'file://{own}')}]" for own in given.folders[1:]]
    return [*path, *(_opened(override, sweep=given.sweep) for override in overrides)]


def _chosen_files(given: Sources) -> dict[str, str]:
    """The preset and the experiment, as far as a file does not choose them."""
    chosen = {place: entry.value for place, entry in given.assignments.items()} | given.chosen()
    return {group: chosen.get(group, "none") for group in OVER_ALL}


def _tree(given: Sources, files: Mapping[str, str]) -> tuple[DictConfig, dict[str, str]]:
    # Hydra takes 150 ms to import, which must not be paid for --help.
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    overrides = hydra_overrides(given, given.overrides, files)
    running = GlobalHydra.instance().hydra  # of a sweep, in whose job this may be
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(config_dir=str(given.folders[0]), version_base="1.3", job_name="decloud_pl"):
            tree = hydra_compose("config", overrides=overrides, return_hydra_config=True)
    finally:
        GlobalHydra.instance().hydra = running
    return tree, dict(tree.hydra.runtime.choices)


def _opened(override: str, *, sweep: bool) -> str:
    """Lets an override add to the settings whose keys are the user's own, and take paths and addresses as they are.

    Hydra itself would ask for ``++`` and for quotes around some of their characters.
    """
    key, equals, value = override.partition("=")
    simple = not value.startswith(_BRACKETS) and "${" not in value and not (sweep and "," in value)
    if simple and (_ADDRESS.match(value) or key.startswith("paths.")):
        value = hydra_text(value)
    added = "++" if re.match(r"(mappings|paths)\b", key) else ""
    return f"{added}{key}{equals}{value}"
