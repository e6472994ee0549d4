"""The catalog of data sets, and the choice of the data set to train on for a round. Imports no torch.

Each entry is one file in ``conf/dataset``. Callers must convert a name from the chain to lower case. A data set is
supported if an entry has its name, if the user maps it to an entry (``custom`` → ``digits``), or if the user sets a
path for it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from decloud_pl.config_dir import config_dir
from decloud_pl.data import user_files
from decloud_pl.data.entry import DataFolder, Entry
from decloud_pl.errors import ConfigError, DatasetError, DatasetNotFound, DatasetNotSupported, first_line, nearest


def names(directory: Path | None = None, own: Path | None = None) -> list[str]:
    """Return the entries' names in alphabetical order.

    Args:
        directory: a folder of configuration groups; the default is the package's ``conf``.
        own: the user's folder of configuration groups, whose entries are added.
    """
    return sorted({path.stem for folder in _folders(directory, own) for path in folder.glob("*.yaml")})


def entry(name: str, directory: Path | None = None, own: Path | None = None) -> Entry:
    """Return the entry with this name.

    Raises:
        DatasetNotSupported: no entry has this name.
        ConfigError: the file is not a valid declaration.
    """
    known = names(directory, own)
    if name in known:
        for folder in _folders(directory, own):
            file = folder / f"{name}.yaml"
            if file.is_file():
                return Entry.from_node(name, _node(file), file)
    raise DatasetNotSupported(f"No reader supports the data set {name!r}.", fix=nearest(name, known))


def _folders(directory: Path | None, own: Path | None) -> list[Path]:
    """Return the folders in Hydra's search order: the package's comes first, so its files win over the user's."""
    return [folder / "dataset" for folder in (directory or config_dir(), own) if folder is not None]


def _node(file: Path) -> dict[str, Any]:
    import yaml

    try:
        node = yaml.load(file.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  # both are safe
    except (OSError, ValueError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        reason = f"line {mark.line + 1} is not valid YAML" if mark else first_line(error)
        raise ConfigError(f"Cannot read {file}: {reason}.", fix="Correct the file.") from error
    if not isinstance(node, dict):
        raise ConfigError(f"{file} does not declare a data set.", fix="Compare it with the files in conf/dataset.")
    return node


@dataclass(frozen=True, slots=True)
class Choice:
    """The data set to train on.

    Attributes:
        name: the name of this data set. It differs from the name on chain if the user has mapped that name.
        entry: the data set's declaration; None if only the user's files describe it.
        root: the path that the user set; None if the user set no path.
        ready: whether the files are on this machine. If not, they can be downloaded.
    """

    name: str
    entry: Entry | None
    root: str | None
    ready: bool

    @property
    def is_published(self) -> bool:
        """Whether the files have the layout in which the data set's authors distribute them.

        The reader that the catalog declares needs this layout. If the user set no path, the result is True. If the path
        has a query, the result is False, because only the reader of the user's own files reads the query.
        """
        if self.root is None:
            return True
        return self.entry is not None and _is_published(self.entry, self.root)

    def node(self, data: DataFolder) -> dict[str, Any]:
        """Return the configuration node from which `decloud_pl.build` makes the `Source`."""
        if self.entry is None or not self.is_published:
            classes = None if self.entry is None else self.entry.num_classes
            return {"_target_": user_files.TARGET, "name": self.name, "root": self.root, "num_classes": classes}
        return {**self.entry.node, "root": self.root, "data": data.to_node()}


@dataclass(frozen=True, slots=True)
class Catalog:
    """The data sets that a user can train on.

    Attributes:
        data: where data sets are stored, unless the user sets a path.
        mappings: maps a data set's name on chain to the name of the data set to train on instead.
        paths: maps a data set's name to the path that the user set for it. If a name on chain has both a path and a
            mapping, the path is used and the mapping is ignored.
        own: the user's folder of configuration groups, which may declare more data sets.
        directory: a folder of configuration groups; the default is the package's ``conf``.
        chain_names: the names that a round can have, in the chain's order.
        packages: the user's packages that may contain the reader of a data set.
    """

    data: DataFolder
    mappings: Mapping[str, str] = field(default_factory=dict)
    paths: Mapping[str, str] = field(default_factory=dict)
    own: Path | None = None
    directory: Path | None = None
    chain_names: Sequence[str] = ()
    packages: Sequence[str] = ()

    def names(self) -> list[str]:
        """Return the entries' names: first those in ``chain_names``, in that order, then all others alphabetically."""
        order = {name: index for index, name in enumerate(self.chain_names)}
        return sorted(names(self.directory, self.own), key=lambda name: (order.get(name, len(order)), name))

    def entries(self) -> dict[str, Entry]:
        """Return every entry by name, in the order of `names`."""
        return {name: entry(name, self.directory, self.own) for name in self.names()}

    def resolve(self, name: str) -> Choice:
        """Return the data set to train on for a round.

        Args:
            name: the chain's name of the round's data set, in lower case.

        Raises:
            DatasetNotSupported: no entry, mapping or path exists for the name.
            DatasetNotFound: the files are missing and cannot be downloaded.
            DatasetError: the user's path has no supported data, or not the kind of samples that the entry declares.
        """
        return self._choose(name if name in self.paths else self.mappings.get(name, name), name)

    def find(self, name: str) -> Choice:
        """Return the data set of this name, regardless of the mappings.

        Raises:
            DatasetError: see `resolve`.
        """
        return self._choose(name, name)

    def of_node(self, node: Mapping[str, Any]) -> Choice:
        """Return the data set of an experiment. Its declaration is ``node``, in which the user may have changed values.

        Raises:
            ConfigError: the declaration is not valid, or a changed value does not apply.
            DatasetError: see `resolve`.
        """
        given = node["entry"]
        name = str(given.get("name") if isinstance(given, Mapping) else "")
        if node.get("root") is not None:
            raise ConfigError("dataset.root does not apply.", fix=f"Set paths.{name}={node['root']} instead.")
        choice = self._choose(name, name, Entry.from_node(name, node))
        if not choice.is_published:
            declared = entry(name, self.directory, self.own).node
            for key in node.keys() - {"entry", "root", "data"}:
                if not _is_same(node[key], declared.get(key)):
                    raise ConfigError(
                        f"dataset.{key} does not apply to the files in paths.{name}.",
                        fix=f"Leave it out. To name columns, set paths.{name}=PATH?text=COLUMN&label=COLUMN.",
                    )
        return choice

    def _choose(self, wanted: str, name: str, found: Entry | None = None) -> Choice:
        known = self.names()
        if found is None and wanted in known:
            found = entry(wanted, self.directory, self.own)
        if wanted in self.paths:
            _check_path(wanted, self.paths[wanted], found)
            return Choice(wanted, found, self.paths[wanted], ready=True)
        if found is None:
            raise _not_supported(name, wanted, known, self.chain_names)
        ready = found.find(None, self.data) is not None
        if not ready and not (self.data.download and found.downloads):
            raise DatasetNotFound(
                f"The files of the data set {wanted} are not on this machine.",
                fix=f"Set paths.{wanted} to the folder that has them"
                + (", or allow downloads with data.download=true." if found.downloads else "."),
            )
        return Choice(wanted, found, None, ready=ready)


def _check_path(name: str, given: str, found: Entry | None) -> None:
    path = user_files.path_of(given)
    user_files.check_exists(name, path)
    if found is None or not _is_published(found, given):
        if found is not None and found.files and found.is_in(path):
            raise DatasetError(
                f"{path} has the published files of the data set {name}, so ?{given.rpartition('?')[2]} does not "
                "apply.",
                fix=f"Set paths.{name}={path}.",
            )
        layout = user_files.detect(name, given, None if found is None else found.num_classes)
        if found is not None and found.kind != layout.kind:
            raise DatasetError(
                f"{path} has {layout.kind} samples, but the data set {name} needs {found.kind} samples.",
                fix=f"Correct paths.{name}.",
            )
        if isinstance(layout, user_files.TextTableFiles):
            layout.check_columns()


def _is_same(value: Any, declared: Any) -> bool:
    """Return whether a composed value is the declared one. A declaration is plain YAML, with texts such as ``1e-3``."""
    if isinstance(declared, str) and not isinstance(value, str):
        with suppress(ValueError):
            return bool(float(declared) == value)
    return value == declared or (isinstance(declared, str) and "${" in declared)


def _is_published(found: Entry, given: str) -> bool:
    return not user_files.has_query(given) and found.is_in(user_files.path_of(given))


def _not_supported(name: str, wanted: str, known: Sequence[str], chain_names: Sequence[str]) -> DatasetNotSupported:
    if wanted == name:
        return DatasetNotSupported(f"The data set {name} is not supported.", fix=_how_to_map(name, known))
    close = difflib.get_close_matches(wanted, [*known, *chain_names], n=1)
    return DatasetNotSupported(
        f"The data set {name} is mapped to {wanted}, which is not supported.",
        fix=f"Did you mean {close[0]}?" if close and close[0] in known else _how_to_map(name, known),
    )


def _how_to_map(name: str, known: Sequence[str]) -> str:
    choices = f" ({', '.join(known)})" if known else ""
    how = f"`decloud-trainer config --add-mapping {name}:NAME`"
    return f"Map it with {how}{choices}, or set paths.{name} to a folder with its files."
