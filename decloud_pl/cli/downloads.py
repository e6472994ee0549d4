"""Download data sets with a progress bar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from decloud_pl.cli.ui.progress import transfer

if TYPE_CHECKING:
    from decloud_pl.data.catalog import Catalog
    from decloud_pl.data.entry import DataFolder, Entry


def download(entry: Entry, data: DataFolder) -> None:
    """Download the missing files of a data set and show the progress.

    Raises:
        DatasetError: a file cannot be downloaded or stored.
    """
    from decloud_pl.data.fetch.download import download_entry

    with transfer(f"Downloading {entry.name}") as progress:
        download_entry(entry, data, progress=progress)


def download_first(dataset: Mapping[str, Any], catalog: Catalog) -> None:
    """Download the missing files of an experiment's data set before the training starts, and show the progress.

    The training would also download missing files, but without showing the progress.

    Raises:
        ConfigError: a changed value of the data set does not apply.
        DatasetError: the data set is missing and cannot be downloaded.
    """
    if "entry" in dataset:
        choice = catalog.of_node(dataset)
        if not choice.ready and choice.entry is not None:
            download(choice.entry, catalog.data)
