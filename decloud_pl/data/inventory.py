"""The catalog's data sets, and which of them are on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from decloud_pl.data.catalog import Catalog
from decloud_pl.data.entry import Entry
from decloud_pl.data.formats.image_folder import ImageFolder
from decloud_pl.data.user_files import detect, path_of
from decloud_pl.errors import DatasetError

_OWN = "your own files"


@dataclass(frozen=True, slots=True)
class Item:
    """A data set of the inventory.

    Attributes:
        name: the name in the catalog, or the name for which the user set a path.
        kind: ``image`` or ``text``; empty if the catalog does not declare it.
        num_classes: number of classes; None if the catalog does not declare it.
        licence: the licence of the data.
        size: the size as text, for people.
        on_disk: whether the files can be read now.
        path: the path that the user set. If the user set none: the folder of the files, or None if the files are
            missing, if a dependency contains them, or if ``problem`` is not empty.
        bytes_on_disk: size of the files.
        download_bytes: size of the download; 0 if unknown.
        problem: why the data set cannot be used; empty if it can.
        rounds: the data set names on chain for which this data set is used. A mapping can assign several names to it.
        classes: the label of each class folder; empty if the files are not in class folders.
    """

    name: str
    kind: str
    num_classes: int | None
    licence: str
    size: str
    on_disk: bool
    path: str | None
    bytes_on_disk: int
    download_bytes: int
    problem: str
    rounds: tuple[str, ...]
    classes: Mapping[str, int]


def inventory(catalog: Catalog) -> list[Item]:
    """Return every entry of the catalog, then the data sets that only the user's paths define."""
    known = catalog.entries()
    means: dict[str, list[str]] = {}
    for name in catalog.chain_names:
        try:
            means.setdefault(catalog.resolve(name).name, []).append(name)
        except DatasetError:
            continue
    found = [*known.items(), *((name, None) for name in catalog.paths if name not in known)]
    return [_item(name, entry, tuple(means.get(name, ())), catalog) for name, entry in found]


def _item(name: str, entry: Entry | None, rounds: tuple[str, ...], catalog: Catalog) -> Item:
    problem, path = "", None
    classes: Mapping[str, int] = {}
    try:
        choice = catalog.find(name)
        on_disk = choice.ready
        if choice.root is not None and not choice.is_published:
            layout = detect(name, choice.root)
            classes = layout.classes if isinstance(layout, ImageFolder) else {}
    except DatasetError as error:
        on_disk, problem = False, str(error)
    if name in catalog.paths:
        path = path_of(catalog.paths[name])
    elif entry is not None and not entry.is_embedded and not problem:
        path = entry.find(None, catalog.data)
    return Item(
        name=name,
        kind="" if entry is None else entry.kind,
        num_classes=None if entry is None else entry.num_classes,
        licence=_OWN if entry is None else entry.licence,
        size=_OWN if entry is None else entry.size,
        on_disk=on_disk,
        path=None if path is None else str(path),
        bytes_on_disk=_bytes(path) if on_disk and path is not None else 0,
        download_bytes=0 if entry is None else sum(item.size for item in entry.downloads),
        problem=problem,
        rounds=rounds,
        classes=classes,
    )


def _bytes(path: Path) -> int:
    files = [path] if path.is_file() else path.rglob("*")
    return sum(_size(file) for file in files)


def _size(path: Path) -> int:
    """Return the size of a file in bytes; 0 if it is not a file, is not accessible, or was just deleted."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0
