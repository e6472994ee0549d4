"""Read the YAML files of configuration groups, such as ``conf/rewards/high.yaml``, without Hydra."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

DEFINED_GROUPS = ("rewards", "storage")
"""The groups whose choices have values that define them; see `definition`."""
_LIMITS = ("rewards.min", "rewards.max", "rewards.min_profit")


def read_group_file(folders: Sequence[Path], group: str, name: str) -> tuple[list[Any], dict[str, Any], Path | None]:
    """Return the defaults list of a choice's file, its other content, and its path; None if there is no such file.

    The defaults list always contains ``_self_``, which stands for the other content. Interpolations are not resolved.

    Raises:
        OSError: the file cannot be read.
        YAMLError: the file is not YAML.
    """
    from omegaconf import OmegaConf

    file = next((path for folder in folders if (path := folder / group / f"{name}.yaml").is_file()), None)
    tree: Any = {} if file is None else OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    if not isinstance(tree, dict):
        return [], {}, file
    defaults = list(tree.pop("defaults", None) or [])
    return defaults if "_self_" in defaults else [*defaults, "_self_"], tree, file


def definition(folders: Sequence[Path], group: str, name: str) -> dict[str, Any]:
    """Return the values that define a choice of ``rewards`` or ``storage``, by place.

    A storage is defined by its ``kind``. A choice of ``rewards`` is defined by the values that its file, or a file that
    it extends, sets, except for ``criteria``, which add up. An empty value or a zero does not count, because it may
    only repeat a default, such as the empty list of blocked validators. But a limit of the reward in the file itself
    always counts, as in ``rewards=any``.

    Raises: as `read_group_file`.
    """
    defaults, tree, _ = read_group_file(folders, group, name)
    found: dict[str, Any] = {}
    for entry in defaults:
        if entry == "_self_":
            own = {f"{group}.{key}": value for key, value in leaves_of(tree) if not key.startswith("criteria")}
            found |= {place: value for place, value in own.items() if value or place in _LIMITS}
        elif isinstance(entry, str):
            found |= {place: value for place, value in definition(folders, group, entry).items() if value}
    return {place: value for place, value in found.items() if group != "storage" or place == "storage.kind"}


def leaves_of(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each leaf of nested mappings and dataclasses: its path, such as ``network.rpc_url``, and its value."""
    for key, value in tree.items():
        if is_dataclass(value):
            value = vars(value)  # noqa: PLW2901
        if isinstance(value, dict) and value:
            yield from leaves_of(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
