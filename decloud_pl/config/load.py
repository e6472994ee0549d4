"""Compose the settings in force: built-in < preset < experiment < config.json < environment < command line.

Hydra composes the settings. config.json and the environment together are the last entry of Hydra's defaults list.

A short name such as ``epochs`` stands for a full key, here ``trainer.max_epochs``. Before Hydra composes, each layer
replaces short names with full keys. So Hydra's precedence also applies if one layer uses the short name of a setting
and another layer uses the full key. In the composed tree, the value of a short name is ``${alias:KEY}``, which resolves
to the value of the full key.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from decloud_pl.chain.solana_cli import chosen_network
from decloud_pl.config.group_files import names_of, parts_of
from decloud_pl.config.layers import Sources, is_of_training, sources
from decloud_pl.config.names import ALIASES, ALL_BATCHES, OLD, PACKAGES, PRESET, SHORT, groups, secret_names, storages
from decloud_pl.config.schema import Settings, Tree
from decloud_pl.config.training import MERGED
from decloud_pl.config.values import hydra_text, literal
from decloud_pl.store.registry import Registry, take_providers

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(frozen=True)
class Composed:
    """The validated settings that Hydra composed from `Sources`, and the option chosen in each config group."""

    settings: Settings
    choices: Mapping[str, str]
    sources: Sources

    @property
    def preset(self) -> str:
        return self.choices[PRESET]


def load(overrides: Sequence[str] = (), *, environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings in force. ``overrides`` are written as on the command line, such as ``epochs=3``.

    Raises:
        ConfigError: a file, a variable or an override is invalid.
    """
    return composed(sources(overrides, environ=environ)).settings


def compose(overrides: Sequence[str] = ()) -> Settings:
    """Return the settings of ``conf/`` and the overrides alone, without config.json and the environment.

    Raises:
        ConfigError: a key or a group choice is unknown, or a value is invalid; the message suggests the nearest name.
    """
    return composed(Sources().with_overrides(overrides)).settings


def composed(given: Sources) -> Composed:
    """Compose the settings from their sources, and validate them. Raise `ConfigError` as `load` does."""
    from hydra.errors import HydraException
    from omegaconf import OmegaConf, open_dict
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from decloud_pl.config.refusals import check, explain, refuse_unknown_keys, wrong_in_tree

    try:
        tree = _tree(given)
    except (HydraException, OmegaConfBaseException, YAMLError, OSError, TypeError, ValueError, RecursionError) as error:
        raise explain(error, given) from error
    choices = dict(tree.hydra.runtime.choices)
    try:
        with open_dict(tree):
            del tree["hydra"]
            _move_old_keys(tree, given.of_training())
        providers = take_providers(tree.storage)
        plain = cast(Tree, OmegaConf.to_object(tree))
    except (OmegaConfBaseException, RecursionError) as error:
        raise wrong_in_tree(error, tree, given) from error
    refuse_unknown_keys(plain)
    values = {**vars(plain), "secrets": given.secrets, "providers": providers, "allow_packages": given.allow_packages}
    settings = Settings(**values, given=tuple(sorted({*given.of_training(), *_in_own_files(given)})))
    network = settings.network
    if not network.rpc_url:  # network=solana-cli
        chosen = chosen_network()
        network.rpc_url, network.ws_url = chosen.json_rpc_url, network.ws_url or chosen.websocket_url
    check(settings, given)
    if "entry" in settings.dataset:
        settings.dataset["data"] = asdict(settings.data)
    return Composed(settings, choices, given)


def _in_own_files(given: Sources) -> Iterator[str]:
    """Yield the places that the user's own files set, if they are chosen in the groups to which a recipe adds values.

    A packaged file yields none, also if the user names it, because it has default values.
    """
    for group in MERGED:
        chosen = next((layer[group].value for layer in given.layers if group in layer), None)
        for part in (part for name in names_of(chosen) for part in parts_of(given.folders, group, name)):
            if given.folders[0] not in part.file.parents:
                yield from filter(is_of_training, part.values)


def hydra_overrides(given: Sources, overrides: Sequence[str]) -> list[str]:
    """Register the schema, config.json and the environment with Hydra, and return the overrides to compose with."""
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("alias", _alias, replace=True)
    store = ConfigStore.instance()
    store.store(name="schema", node=_schema(storages(given.home)))  # a copy
    store.store(group="user", name="settings", node=_user_node(given), package="_global_")
    path = [f"hydra.searchpath=[{hydra_text(f'file://{own}')}]" for own in given.folders[1:]]
    return [*path, *overrides]


@cache
def _schema(providers: Registry) -> DictConfig:
    """Return the typed schema of the settings, including the settings of the storage providers."""
    from omegaconf import OmegaConf

    schema = OmegaConf.structured(Tree)
    schema.storage = providers.node()
    return cast("DictConfig", schema)


def _user_node(given: Sources) -> DictConfig:
    """Return a config node with the values of config.json and the environment. It goes into Hydra's defaults list."""
    from omegaconf import OmegaConf

    outside = (*secret_names(given.home), PACKAGES)
    kept = {place: entry for place, entry in given.kept.items() if place not in outside}
    chosen = [{f"override /{place}": entry.value} for place, entry in kept.items() if place in groups()]
    # Hydra adds the values of a file under the names in the file. Values with two names are added again here.
    values = {place: layer[place].placed for layer in given.files[::-1] for place in ALIASES.values() if place in layer}
    values |= {} if given.home is None else {"home": literal(str(given.home))}
    values |= {place: literal(entry.placed) for place, entry in kept.items() if place not in groups()}
    values |= {place: entry.value for place, entry in given.defined.items()}  # a file may have interpolations
    # A file may have overwritten the interpolation of a short name with a value.
    shown = {name: f"${{alias:{place}}}" for name, place in SHORT.items()}
    node = OmegaConf.create({"defaults": [*chosen, "_self_"], **shown})
    for place, value in values.items():
        OmegaConf.update(node, place, value)
    return node


def _tree(given: Sources) -> DictConfig:
    # Importing Hydra takes 150 ms, which would delay --help.
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    overrides = hydra_overrides(given, given.overrides)
    running = GlobalHydra.instance().hydra  # set if this runs in a job of a sweep
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(config_dir=str(given.folders[0]), version_base="1.3", job_name="decloud_pl"):
            return hydra_compose("config", overrides=overrides, return_hydra_config=True)
    finally:
        GlobalHydra.instance().hydra = running


def _alias(place: str, *, _root_: DictConfig) -> Any:
    """Return the value of a short name. ``place`` is the full key that the short name stands for.

    The value is that of the full key, except for ``max_batches``. There, 0 means all batches. If the full key sets a
    share of the batches, ``max_batches`` is None, because it can only hold a number of batches.
    """
    from omegaconf import OmegaConf

    value = OmegaConf.select(_root_, place)
    if place != SHORT["max_batches"] or not isinstance(value, float):
        return value
    return 0 if value == ALL_BATCHES else None


def _move_old_keys(tree: DictConfig, stronger: Collection[str]) -> None:
    """Move the values of old keys such as ``trainer.compile`` to the new keys such as ``fit.compile``.

    The old keys come from the user's file for the group ``trainer``. ``stronger`` contains the keys that layers of
    higher precedence set. If ``stronger`` contains the new key, the old value is dropped.
    """
    from omegaconf import OmegaConf

    for name, place in OLD.items():
        key = name.removeprefix("trainer.")
        if key in tree.trainer:
            value = tree.trainer.pop(key)
            if place not in stronger:
                OmegaConf.update(tree, place, value)
