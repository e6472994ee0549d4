"""What the catalogue says of one data set, and where its files are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from decloud_pl.data.formats import tables
from decloud_pl.data.source import Kind
from decloud_pl.errors import ConfigError, DatasetError


@dataclass(frozen=True, slots=True)
class DataFolder:
    """Where downloaded data sets are kept, in torchvision's layout.

    Attributes:
        folder: the folder; ``data`` in the home folder by default.
        mirror: base URL to download from instead: ``{mirror}/{data set}/{file}``.
        download: whether to download what is missing.
    """

    folder: Path
    mirror: str = ""
    download: bool = True

    @classmethod
    def from_node(cls, node: Mapping[str, Any] | None) -> DataFolder:
        """From plain values; None means the default folder."""
        given = dict(node or {})
        home = os.environ.get("DECLOUD_HOME") or "~/.decloud-trainer"
        folder = Path(str(given.get("folder") or Path(home) / "data")).expanduser()
        return cls(folder, str(given.get("mirror") or ""), bool(given.get("download", True)))

    def to_node(self) -> dict[str, Any]:
        """Plain values for a configuration node."""
        return {"folder": str(self.folder), "mirror": self.mirror, "download": self.download}


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file to download.

    Attributes:
        urls: places to get it from, the first one first.
        file: its name below the data set's folder.
        checksum: ``md5:…`` or ``sha256:…`` as published; empty where the publisher gives it with the file.
        size: bytes, for people; 0 where unknown.
    """

    urls: tuple[str, ...]
    file: str
    checksum: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A data set this package can read, as its file in ``conf/dataset`` declares it.

    Attributes:
        name: the file's name, and the chain's where the chain knows it.
        kind: of its samples.
        num_classes: how many labels.
        test_samples: how many samples the test split has; None where that is not said.
        licence: of the data.
        size: for people.
        folder: where it is kept, below a data folder; empty for data inside a dependency.
        files: what must be there, each possibly with ``.gz``; empty for tables, which are found by their names.
        splits: words in tables' names, by ``train`` and ``test``.
        elsewhere: patterns of other folders that hold the files directly, for example a distribution's package.
        downloads: what to download when it is nowhere.
        node: the whole declaration.
    """

    name: str
    kind: Kind
    num_classes: int
    licence: str
    size: str
    folder: str
    files: tuple[str, ...]
    splits: Mapping[str, str]
    elsewhere: tuple[str, ...]
    downloads: tuple[RemoteFile, ...]
    node: dict[str, Any]
    test_samples: int | None = None

    @classmethod
    def from_node(cls, name: str, node: Mapping[str, Any]) -> Entry:
        """Checks and reads a declaration.

        Raises:
            ConfigError: a key that is missing or wrong.
        """
        given = node.get("entry")
        try:
            if not isinstance(given, Mapping) or given["name"] != name or given["kind"] not in ("image", "text"):
                raise ValueError
            return cls(
                name=name,
                kind=cast(Kind, given["kind"]),
                num_classes=int(given["num_classes"]),
                licence=str(given["licence"]),
                size=str(given["size"]),
                folder=str(given.get("folder", "")),
                files=tuple(given.get("files", ())),
                splits=dict(given.get("splits", {"train": "train", "test": "test"})),
                elsewhere=tuple(given.get("elsewhere", ())),
                downloads=tuple(
                    RemoteFile(tuple(item["urls"]), item["file"], item.get("checksum", ""), int(item.get("size", 0)))
                    for item in given.get("downloads", ())
                ),
                node=dict(node),
                test_samples=int(given["test_samples"]) if "test_samples" in given else None,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"conf/dataset/{name}.yaml is not a data set's declaration.", fix="Compare it with its neighbours."
            ) from error

    @property
    def is_embedded(self) -> bool:
        """Whether the data came with a dependency."""
        return not self.folder

    def is_in(self, root: Path) -> bool:
        """Whether a user's path holds every file, in the published layout."""
        return not self.is_embedded and any(self._is_complete(folder) for folder in (root / self.folder, root))

    def _is_complete(self, folder: Path) -> bool:
        try:
            if self.files:
                return all((folder / file).is_file() or (folder / f"{file}.gz").is_file() for file in self.files)
            return all(tables.find(folder, word) for word in self.splits.values())
        except OSError as error:
            raise DatasetError(
                f"{folder}, where the data set {self.name} may be, cannot be read: {error.strerror}.",
                fix=f"Let this user read it, or set paths.{self.name} to another folder.",
            ) from error

    def find(self, root: Path | None, data: DataFolder) -> Path | None:
        """The folder that holds every file, None when there is none; only in the user's ``root`` where one is given."""
        if self.is_embedded:
            return Path()
        if root is not None:
            candidates = [root / self.folder, root]
        else:
            candidates = [data.folder / self.folder]
            for pattern in self.elsewhere:
                path = Path(pattern).expanduser()
                candidates += sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
        return next((folder for folder in candidates if self._is_complete(folder)), None)
