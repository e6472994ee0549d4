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
from decloud_pl.settings.names import groups, nearest, nested_types, tree_names
from decloud_pl.settings.network import honour_solana_cli
from decloud_pl.settings.schema import Settings, Tree, check
from decloud_pl.settings.secrets import Secrets
from decloud_pl.settings.values import hydra_text

if TYPE_CHECKING:
    from omegaconf import DictConfig

USER_CONF = "conf"
"""The folder in the user's home whose groups come beside the built-in ones."""

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
    try:
        with initialize_config_dir(config_dir=str(folder), version_base="1.3", job_name="decloud_pl"):
            tree = hydra_compose("config", overrides=[*search_path(user_conf), *map(_opened, overrides)])
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
        raise ConfigError(f"{_first_line(error)} ({error.full_key}).", fix="Correct the value of this key.") from error
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
    if "entry" in settings.dataset:
        settings.dataset["data"] = dataclasses.asdict(settings.data)
    return settings


def _opened(override: str) -> str:
    """Lets an override add to the settings whose keys are the user's own, and takes a path as it is written.

    Hydra itself would ask for ``++`` and for quotes around some characters of paths.
    """
    if not re.match(r"(mappings|paths)\b", override):
        return override
    key, _, value = override.partition("=")
    if key.startswith("paths.") and not value.startswith(('"', "'")):
        value = hydra_text(value)
    return f"++{key}={value}"


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


def check_keys(plain: dict[str, Any]) -> None:
    """Refuses keys that are no setting, which ``+key=value`` would add without a complaint.

    Raises:
        ConfigError: the first such one, with the nearest right one.
    """
    for key, value in plain.items():
        if key not in tree_names():
            raise ConfigError(f"There is no setting {key!r}.", fix=nearest(key, tree_names()))
        nested = nested_types().get(key)
        if nested is not None and isinstance(value, dict):
            known = tree_names(nested)
            for inner in value:
                if inner not in known:
                    raise ConfigError(f"There is no setting '{key}.{inner}'.", fix=nearest(str(inner), known))


def choices(group: str, *folders: Path | None) -> list[str]:
    """The choices of a group, the built-in and the user's."""
    return sorted({path.stem for folder in folders if folder is not None for path in (folder / group).glob("*.yaml")})


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")


def explain(error: Exception, overrides: Sequence[str], folder: Path, user_conf: Path | None) -> ConfigError:
    """The one sentence for an override that Hydra refused."""
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if key in groups():
            known_choices = choices(key, folder, user_conf)
            if value not in known_choices:
                return ConfigError(f"There is no {key} {value!r}.", fix=nearest(value, known_choices))
            continue
        parts = key.split(".")
        schema = nested_types()[parts.pop(0)] if len(parts) > 1 and parts[0] in nested_types() else Tree
        names = tree_names(schema)
        if parts[0] not in names:
            return ConfigError(f"There is no setting {key!r}.", fix=nearest(parts[0], names))
    return ConfigError(f"The configuration cannot be used: {_first_line(error)}.", fix="Check the settings you gave.")
