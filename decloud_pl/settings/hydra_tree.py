"""Composing with Hydra: overrides in, checked settings out, and one sentence for whatever Hydra refuses."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from decloud_pl.config_dir import config_dir
from decloud_pl.errors import ConfigError
from decloud_pl.settings.layers import secret_in_override
from decloud_pl.settings.names import nested_types, tree_names
from decloud_pl.settings.network import honour_solana_cli
from decloud_pl.settings.refusals import check_choices, explain, no_setting, wrong_value
from decloud_pl.settings.schema import Settings, Tree, check
from decloud_pl.settings.secrets import Secrets
from decloud_pl.settings.values import hydra_text

if TYPE_CHECKING:
    from omegaconf import DictConfig

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_BRACKETS = ('"', "'", "[", "{")
_OVERRIDE = re.compile(r"^(\+{1,2}|~)?[A-Za-z_][\w./@:-]*(=.*)?$", re.DOTALL)


def compose(
    overrides: Sequence[str] = (),
    *,
    directory: Path | None = None,
    user_conf: Path | None = None,
    secrets: Secrets | None = None,
) -> Settings:
    """Composes ``conf/`` with Hydra overrides such as ``preset=quick-test`` or ``epochs=2``, and nothing else.

    Args:
        overrides: the later one wins.
        directory: the built-in ``conf/``.
        user_conf: a folder with further choices, laid out like ``conf/``.
        secrets: what the settings carry beside the tree.

    Raises:
        ConfigError: an unknown key, group choice or value, named with the nearest right one.
    """
    # Hydra costs 230 ms of import, which commands without overrides must not pay.
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import MarkedYAMLError

    folder = directory or config_dir()
    check_shape(overrides)
    check_choices(overrides, folder, user_conf)
    try:
        with initialize_config_dir(config_dir=str(folder), version_base="1.3", job_name="decloud_pl"):
            tree = hydra_compose("config", overrides=[*search_path(user_conf), *map(opened, overrides)])
    except MarkedYAMLError as error:
        mark = error.problem_mark
        place = "A file of the configuration" if mark is None else f"{mark.name}, line {mark.line + 1},"
        raise ConfigError(f"{place} is not YAML: {error.problem}.", fix="Correct the file.") from error
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, overrides, folder, user_conf) from error
    return from_tree(tree, secrets=secrets)


def search_path(user_conf: Path | None) -> list[str]:
    """The override that lets Hydra find the user's own choices."""
    if user_conf is None or not user_conf.is_dir():
        return []
    return [f"hydra.searchpath=[{hydra_text(f'file://{user_conf.resolve()}')}]"]


def from_tree(tree: DictConfig, *, secrets: Secrets | None = None) -> Settings:
    """Checks a composed tree against `Tree`.

    Raises:
        ConfigError: a key that does not exist, or a value of the wrong type or out of range.
    """
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    plain = OmegaConf.to_container(tree, resolve=False)
    if not isinstance(plain, dict):
        raise ConfigError("The configuration is not a mapping.", fix="Check conf/config.yaml.")
    plain.pop("hydra", None)
    check_keys({str(key): value for key, value in plain.items()})
    if plain.pop("preset", None):  # what a preset sets is elsewhere by now
        raise ConfigError(
            "The preset's settings do not reach the top of the configuration.",
            fix="Begin its file with the line '# @package _global_'.",
        )
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Tree), plain)
        checked = OmegaConf.to_object(cast(DictConfig, merged))
    except OmegaConfBaseException as error:
        raise wrong_value(error, cast(dict[str, Any], plain)) from error
    if not isinstance(checked, Tree):
        raise ConfigError("The configuration could not be read.", fix="Check conf/config.yaml.")
    return to_settings(checked, secrets)


def to_settings(tree: Tree, secrets: Secrets | None) -> Settings:
    """A checked tree with its secrets.

    Raises:
        ConfigError: a value out of range.
    """
    values = {entry.name: getattr(tree, entry.name) for entry in dataclasses.fields(Tree)}
    settings = Settings(**values, secrets=secrets or Secrets())
    honour_solana_cli(settings.network)
    check(settings)
    if settings.max_batches:
        settings.trainer["limit_train_batches"] = settings.max_batches
    if "entry" in settings.dataset:
        settings.dataset["data"] = dataclasses.asdict(settings.data)
    return settings


def opened(override: str, *, sweep: bool = False) -> str:
    """Lets an override add to the settings whose keys are the user's own, and takes paths and addresses as they are.

    Hydra itself would ask for ``++`` and for quotes around some of their characters.

    Args:
        override: the command line's.
        sweep: a comma stands between values.
    """
    key, equals, value = override.partition("=")
    as_it_is = _ADDRESS.match(value) is not None or key.startswith("paths.")
    if as_it_is and "${" not in value and not value.startswith(_BRACKETS) and not (sweep and "," in value):
        value = hydra_text(value)
    added = "++" if re.match(r"(mappings|paths)\b", key) else ""
    return f"{added}{key}{equals}{value}"


def check_shape(overrides: Sequence[str]) -> None:
    """Refuses what is no override, and secrets.

    Raises:
        ConfigError: the first such one.
    """
    for override in overrides:
        if not _OVERRIDE.match(override) or ("=" not in override and not override.startswith("~")):
            raise ConfigError(f"{override!r} is not a setting.", fix="Write KEY=VALUE, for example preset=quick-test.")
        refusal = secret_in_override(override)
        if refusal is not None:
            raise refusal


def check_keys(plain: dict[str, Any], schema: type = Tree, group: str = "") -> None:
    """Refuses keys that are no setting, which ``+key=value`` would add without a complaint.

    Args:
        plain: the tree, or what is in a group of it.
        schema: its type.
        group: its place in the tree, with a dot after it.

    Raises:
        ConfigError: the first such one, with the nearest right one.
    """
    known = [f"{group}{name}" for name in tree_names(schema)]
    for key, value in plain.items():
        if f"{group}{key}" not in known:
            raise no_setting(f"{group}{key}", known)
        nested = nested_types(schema).get(key)
        if nested is not None and isinstance(value, dict):
            check_keys(value, nested, f"{group}{key}.")
