"""From settings to the data sets that the user can train on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from decloud_pl.data.catalog import Catalog
from decloud_pl.data.entry import DataFolder
from decloud_pl.settings.schema import DataConfig


def make_catalog(data: DataConfig, mappings: Mapping[str, str], paths: Mapping[str, str], own: Path) -> Catalog:
    """The catalogue with the user's folder, mappings, paths and own data sets; see `Catalog`."""
    return Catalog(DataFolder.from_node(asdict(data)), mappings, paths, own)
