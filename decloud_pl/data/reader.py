"""Base classes of the readers for the data sets in the catalog."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from decloud_pl.data.entry import DataFolder, Entry
from decloud_pl.data.source import ImageSplit, Kind, SplitName, check_labels, hold_out
from decloud_pl.errors import DatasetNotFound


class CatalogSource:
    """A data set of the catalog.

    Args:
        entry: the declaration of the data set, or its name in ``conf/dataset``.
        root: the user's folder, which contains the files directly or in torchvision's layout. If None, this class looks
            for the files in the data folder and in the folders in which system packages install data sets. If it does
            not find them, it downloads them.
        data: configuration of the data folder, see `DataFolder.from_node`.
    """

    def __init__(
        self, entry: Mapping[str, Any] | str, root: str | None = None, data: Mapping[str, Any] | None = None
    ) -> None:
        if isinstance(entry, str):
            from decloud_pl.data.catalog import entry as declared

            self.entry = declared(entry)
        else:
            self.entry = Entry.from_node(str(entry.get("name")), {"entry": entry})
        self._root = None if root is None else Path(root).expanduser()
        self._data = DataFolder.from_node(data)

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def kind(self) -> Kind:
        return self.entry.kind

    @property
    def num_classes(self) -> int:
        return self.entry.num_classes

    @property
    def test_samples(self) -> int | None:
        return self.entry.test_samples

    def folder(self) -> Path:
        """Return the folder of the files. Download missing files first.

        Raises:
            DatasetNotFound: the files are missing and cannot be downloaded, for example because downloads are off.
        """
        found = self.entry.find(self._root, self._data)
        if found is None and self._root is None and self._data.download and self.entry.downloads:
            from decloud_pl.data.fetch.download import download_entry

            download_entry(self.entry, self._data)
            found = self.entry.find(None, self._data)
        if found is None:
            raise DatasetNotFound(
                f"The files of the data set {self.name} are not in {self._root or self._data.folder}.",
                fix=f"Set paths.{self.name} to the folder that has them.",
            )
        return found


class ImageSource(CatalogSource, ABC):
    """A data set of images that is published in two parts, for training and for testing."""

    _training: ImageSplit | None = None

    @abstractmethod
    def read(self, *, test: bool) -> ImageSplit:
        """Read all of the published test part if ``test`` is true, and otherwise all of the training part.

        Raises:
            DatasetError: a file is missing or damaged.
        """

    def load(self, split: SplitName) -> ImageSplit:
        """Read one split, and check its labels.

        Raises:
            DatasetError: a file is missing or damaged, or the labels are invalid.
        """
        if split == "test":
            return check_labels(self.read(test=True), self.num_classes, self.name)
        whole = self._training
        if whole is None:
            whole = check_labels(self.read(test=False), self.num_classes, self.name)
        # A training loads both parts of the training data, one after the other. We read the files once and drop the
        # data after the second part.
        self._training = whole if self._training is None else None
        return hold_out(whole, split)
