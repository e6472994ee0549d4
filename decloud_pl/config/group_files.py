"""Read the YAML files of configuration groups, such as ``conf/rewards/high.yaml``, without Hydra."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any

DEFINED_GROUPS = ("rewards", "storage")
"""The groups whose choices have values that define them; see `definition`."""
_HEADER = re.compile(r"\s*#[ \t]*@package[ \t]+(\S+)")
_LIMITS = ("rewards.min", "rewards.max", "rewards.min_profit")


@dataclass(frozen=True, slots=True)
class Part:
    """Values that a choice sets: an entry of a defaults list, or the other content of a file.

    Attributes:
        file: the file that contains the values.
        extended: whether the choice's file extends ``file``, so that it is not the choice's file itself.
        values: the values by place, and the choices of other groups by the group's name. Interpolations are not
            resolved.
    """

    file: Path
    extended: bool
    values: dict[str, Any]


def names_of(choice: Any) -> list[str]:
    """Return the names in a group's choice, which may be a list such as ``[any,high]``."""
    return [str(name) for name in (choice if isinstance(choice, list) else [choice])]


def parts_of(folders: Sequence[Path], group: str, name: str) -> Iterator[Part]:
    """Yield what a choice's file and the files that it extends set, in the order in which Hydra merges them.

    A place depends on the package of its file, as in Hydra: by default, the group.

    Raises:
        OSError: a file cannot be read.
        YAMLError: a file is not YAML.
        ValueError: a file is not UTF-8.
        RecursionError: a file includes itself.
    """
    yield from _parts(folders, f"{group}/{name}", group)


def _parts(
    folders: Sequence[Path], path: str, package: str, *, extended: bool = False, fixed: bool = False
) -> Iterator[Part]:
    """Yield the parts of the file at ``path``. Its ``@package`` line replaces the package unless that is ``fixed``."""
    from omegaconf import OmegaConf

    # Hydra, too, takes a file from the first folder, the packaged one, if both have it.
    file = next((found for folder in folders if (found := folder / f"{path}.yaml").is_file()), None)
    tree: Any = None if file is None else OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    if file is None or not isinstance(tree, dict):
        return
    if not fixed and (header := _HEADER.match(file.read_text(encoding="utf-8"))):
        package = _inside("", header[1])
    defaults = list(tree.pop("defaults", None) or [])
    for entry in defaults if "_self_" in defaults else [*defaults, "_self_"]:
        if isinstance(entry, dict):
            yield Part(file, extended, {str(key).rpartition("/")[2]: choice for key, choice in entry.items()})
        elif entry == "_self_":
            yield Part(file, extended, dict(leaves_of(tree, f"{package}." if package else "")))
        else:
            name, _, given = str(entry).partition("@")
            other = name[1:] if name.startswith("/") else f"{path.rpartition('/')[0]}/{name}"
            folder = name.lstrip("/").rpartition("/")[0].replace("/", ".")
            inner = _inside(package, {"": folder, "_here_": ""}.get(given, given))
            yield from _parts(folders, other, inner, extended=True, fixed=bool(given))


def _inside(package: str, inner: str) -> str:
    """Return the full name of the package ``inner``, which is relative to ``package`` unless it has ``_global_``."""
    return f"{package}.{inner}".rpartition("_global_")[2].strip(".")


def definition(folders: Sequence[Path], group: str, choice: Any) -> dict[str, Any]:
    """Return the values that define a choice of ``rewards``, ``network`` or ``storage``, by place.

    A storage is defined by its ``kind``. A choice of ``rewards`` is defined by the values that its file, or a file that
    it extends, sets in this group, except for ``criteria``, which add up. An empty value or a zero does not count,
    because it may only repeat a default, such as the empty list of blocked validators. But a limit of the reward in the
    file itself always counts, as in ``rewards=any``. ``choice`` may be a list of names; later ones win.

    Raises: as `parts_of`.
    """
    parts = [part for name in names_of(choice) for part in parts_of(folders, group, name)]
    limits = {place for part in parts if not part.extended for place in part.values if place in _LIMITS}
    found = {place: value for part in parts for place, value in part.values.items()}
    return {
        place: value
        for place, value in found.items()
        if (place.startswith(f"{group}.") and not place.startswith(f"{group}.criteria"))
        and (value or place in limits)
        and (group != "storage" or place == "storage.kind")
    }


def leaves_of(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each leaf of nested mappings and dataclasses: its path, such as ``network.rpc_url``, and its value."""
    for key, value in tree.items():
        if is_dataclass(value):
            value = vars(value)  # noqa: PLW2901
        if isinstance(value, dict) and value:
            yield from leaves_of(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
