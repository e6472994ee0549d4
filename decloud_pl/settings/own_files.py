"""The user's own ``conf/`` as a source of Hydra's: short names become Lightning's, private addresses are hidden."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from omegaconf import Container, OmegaConf
from yaml import YAMLError

from decloud_pl.errors import ConfigError
from decloud_pl.settings.aliases import translated
from decloud_pl.settings.private import hide

SCHEME = "decloud"
_IN_ROOT = ("preset", "experiment", "sweep")
_PACKAGE = re.compile(r"^#\s*@package\s+(\S+)\s*$", re.MULTILINE)
_GLOBAL = "_global_"


class OwnFiles(ConfigSource):
    """Hydra finds it by the scheme of a search path."""

    @staticmethod
    def scheme() -> str:
        return SCHEME

    def load_config(self, config_path: str) -> ConfigResult:
        name = config_path.removesuffix(".yaml")
        if not self.is_config(name):
            raise ConfigLoadError(f"There is no file {name}.yaml in {self.path}.")
        tree, package = read_own(Path(self.path), name)
        return ConfigResult(self.provider, self.full_path(), tree, {"package": package})

    def available(self) -> bool:
        return self.is_group("")

    def is_group(self, config_path: str) -> bool:
        return (Path(self.path) / config_path).is_dir()

    def is_config(self, config_path: str) -> bool:
        return (Path(self.path) / f"{config_path.removesuffix('.yaml')}.yaml").is_file()

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        found: list[str] = []
        for path in sorted((Path(self.path) / config_path).iterdir()):
            self._list_add_result(found, str(Path(config_path) / path.name), path.name, results_filter)
        return sorted(set(found))


def read_own(folder: Path, name: str) -> tuple[Container, str | None]:
    """A file as Hydra is to have it, and its package where that is not the group's.

    Args:
        folder: laid out like ``conf/``.
        name: of the file without its ending, for example ``preset/mine``.

    Raises:
        ConfigError: it cannot be read, is not a mapping, or sets a value twice.
    """
    file, group = folder / f"{name}.yaml", name.rpartition("/")[0]
    try:
        text = file.read_text(encoding="utf-8")
        plain: Any = OmegaConf.to_container(OmegaConf.create(text or "{}"), resolve=False)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{file}, line {mark.line + 1}," if mark else str(file)
        raise ConfigError(
            f"{place} is not YAML: {getattr(error, 'problem', error)}.", fix="Correct the file."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read.", fix="Check its mode, and write it in UTF-8.") from error
    if not isinstance(plain, dict):
        raise ConfigError(f"{file} is not a mapping.", fix="Write KEY: VALUE, one a line.")
    header = _PACKAGE.search(text)
    package = header[1] if header else None
    if package is None and group in _IN_ROOT:
        raise ConfigError(
            f"The settings of {file} do not reach the top of the configuration.",
            fix="Begin the file with the line '# @package _global_'.",
        )
    if package == _GLOBAL:
        plain = translated(plain, str(file))
    elif package is None and group:
        moved = translated({group: {key: value for key, value in plain.items() if key != "defaults"}}, str(file))
        if list(moved) == [group]:
            plain = {**({"defaults": plain["defaults"]} if "defaults" in plain else {}), **moved[group]}
        else:  # with keys that belong to another group by now
            below = [
                entry if entry == "_self_" else f"/{group}/{entry}@_global_.{group}"
                for entry in plain.get("defaults", [])
            ]
            plain, package = {**({"defaults": below} if below else {}), **moved}, _GLOBAL
    return OmegaConf.create(hide(f"{name}:", plain)), package
