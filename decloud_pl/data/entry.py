"""A data set's declaration in the catalog, and where its files are."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from decloud_pl.data.formats import tables
from decloud_pl.data.source import Kind
from decloud_pl.errors import ConfigError, DatasetError, first_line

_TABLES = "decloud_pl.data.formats.text.TextTables"
_CHECKSUM = re.compile(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class DataFolder:
    """Where downloaded data sets are stored, in torchvision's layout.

    Attributes:
        folder: the folder. The default is ``data`` in the home folder.
        mirror: base URL to download from instead of the published URLs: ``{mirror}/{data set}/{file}``.
        download: whether to download missing files.
    """

    folder: Path
    mirror: str = ""
    download: bool = True

    @classmethod
    def from_node(cls, node: Mapping[str, Any] | None) -> DataFolder:
        """Return the `DataFolder` that a configuration node describes. If ``node`` is None, use the defaults."""
        given = dict(node or {})
        home = os.environ.get("DECLOUD_HOME") or "~/.decloud-trainer"
        folder = Path(str(given.get("folder") or Path(home) / "data")).expanduser()
        return cls(folder, str(given.get("mirror") or ""), bool(given.get("download", True)))

    def to_node(self) -> dict[str, Any]:
        """Return the configuration node from which `from_node` makes an equal `DataFolder`."""
        return {"folder": str(self.folder), "mirror": self.mirror, "download": self.download}


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file to download.

    Attributes:
        urls: download URLs, in order of preference.
        file: path below the data set's folder.
        checksum: ``md5:…`` or ``sha256:…`` in lower case; empty if the server sends a checksum with the file.
        size: bytes, to show to people; 0 if unknown.
    """

    urls: tuple[str, ...]
    file: str
    checksum: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A data set that this package can read, as its file in ``conf/dataset`` declares it.

    Attributes:
        name: the data set's name, which is also the name of its file. If the data set exists on chain, it has the same
            name there.
        kind: the kind of the samples.
        num_classes: number of labels.
        train_samples: number of samples in the training data, with the held-out part; None if not declared.
        test_samples: number of samples in the test split; None if not declared.
        licence: the licence of the data.
        size: the size as text, for people.
        folder: the data set's folder below a data folder; empty if a dependency contains the data.
        files: required files, which may have the additional suffix ``.gz``; empty for tables, see ``splits``.
        splits: maps ``train`` and ``test`` to a word. For the tables of a split see `tables.find`.
        elsewhere: glob patterns of other folders that may contain the files, such as those of a system package.
        downloads: files to download if the data set is nowhere on this machine.
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
    train_samples: int | None = None
    test_samples: int | None = None

    @classmethod
    def from_node(cls, name: str, node: Mapping[str, Any], file: Path | None = None) -> Entry:
        """Check and read a declaration. Error messages name ``file``.

        Raises:
            ConfigError: a key is missing or wrong.
        """
        given = node.get("entry")
        try:
            if not isinstance(given, Mapping) or given["name"] != name or given["kind"] not in ("image", "text"):
                raise ValueError(f"entry.name must be {name!r}, and entry.kind must be 'image' or 'text'")
            return cls(
                name=name,
                kind=cast(Kind, given["kind"]),
                num_classes=_whole("num_classes", given["num_classes"]),
                licence=str(given["licence"]),
                size=str(given["size"]),
                folder=str(given.get("folder", "")),
                files=_texts("files", given.get("files", ())),
                splits=dict(given.get("splits", {"train": "train", "test": "test"})),
                elsewhere=_texts("elsewhere", given.get("elsewhere", ())),
                downloads=tuple(
                    RemoteFile(
                        _texts("downloads.urls", item["urls"]),
                        str(item["file"]),
                        _checksum(item.get("checksum", "")),
                        _whole("downloads.size", item.get("size", 0)),
                    )
                    for item in given.get("downloads", ())
                ),
                node=dict(node),
                train_samples=_whole("train_samples", given["train_samples"]) if "train_samples" in given else None,
                test_samples=_whole("test_samples", given["test_samples"]) if "test_samples" in given else None,
            )
        except (KeyError, TypeError, ValueError) as error:
            reason = f"the key {error.args[0]!r} is missing" if isinstance(error, KeyError) else first_line(error)
            raise ConfigError(
                f"{file or f'conf/dataset/{name}.yaml'}: {reason}.", fix="Compare it with the files in conf/dataset."
            ) from error

    @property
    def is_embedded(self) -> bool:
        """Whether a dependency contains the data."""
        return not self.folder

    def is_in(self, root: Path) -> bool:
        """Return whether a user's path contains all files of the data set in the published layout.

        Tables must also have the columns that the declaration names.
        """
        folders = () if self.is_embedded else (root / self.folder, root)
        found = next((folder for folder in folders if self._is_complete(folder)), None)
        return found is not None and self._has_columns(found)

    def _has_columns(self, folder: Path) -> bool:
        if self.files or self.node.get("_target_") != _TABLES:  # another class may read its columns in another way
            return True
        columns = tables.Columns(str(self.node.get("text", "text")), str(self.node.get("label", "label")))
        try:
            for word in self.splits.values():
                tables.check_columns(tables.find(folder, word)[0], columns)
        except DatasetError:
            return False
        return True

    def _is_complete(self, folder: Path) -> bool:
        try:
            if self.files:
                return all((folder / file).is_file() or (folder / f"{file}.gz").is_file() for file in self.files)
            return all(tables.find(folder, word) for word in self.splits.values())
        except OSError as error:
            raise DatasetError(
                f"The folder {folder} cannot be searched for the data set {self.name}: {error.strerror}.",
                fix=f"Give this user read access, or set paths.{self.name} to another folder.",
            ) from error

    def find(self, root: Path | None, data: DataFolder) -> Path | None:
        """Return the folder with all files of the data set, or None if there is no such folder.

        If ``root`` is given, search only there. If a dependency contains the data, return an empty path.
        """
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


def _texts(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"entry.{key} must be a list of texts (got {value!r})")
    return tuple(value)


def _checksum(value: Any) -> str:
    text = str(value or "").lower()
    if text and not _CHECKSUM.fullmatch(text):
        raise ValueError(f"entry.downloads.checksum must be md5:… or sha256:… in hexadecimal (got {value!r})")
    return text


def _whole(key: str, value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise ValueError(f"entry.{key} must be a whole number (got {value!r})") from None
