"""The catalog's text data sets, read from files of the Hugging Face hub or of the library ``datasets``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from decloud_pl.data.classes import check_classes, log_classes
from decloud_pl.data.formats import tables
from decloud_pl.data.reader import CatalogSource
from decloud_pl.data.source import SplitName, TextSplit, check_labels, hold_out


class TextTables(CatalogSource):
    """Texts in parquet files of the Hugging Face hub, or in Arrow files that ``datasets`` has written.

    ``text`` and ``label`` are the names of the columns. For the other arguments see `CatalogSource`.
    """

    def __init__(
        self,
        entry: Mapping[str, Any] | str,
        *,
        text: str = "text",
        label: str = "label",
        **place: Any,
    ) -> None:
        super().__init__(entry, **place)
        self._columns = tables.Columns(text, label)

    def load(self, split: SplitName) -> TextSplit:
        table = self._read("test" if split == "test" else "train")
        words = table.words()
        if words and split == "test":
            # Words are numbered by their order in the training data, because a test split may lack some of them.
            words = self._read("train").words()
        whole = check_labels(table.split(words), self.num_classes, self.name)
        if split == "test":
            return whole
        path, classes = self.folder(), {word: label for label, word in enumerate(words)}
        labels = set(whole.labels.tolist())
        check_classes(self.name, path, classes, labels, self.num_classes)
        if split == "train":
            log_classes(self.name, path, classes, labels, self.num_classes)
        return hold_out(whole, split)

    def _read(self, part: str) -> tables.TextTable:
        return tables.read(tables.find(self.folder(), self.entry.splits[part]), self._columns)
