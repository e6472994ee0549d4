"""From settings to the data sets that the user can train on."""

from __future__ import annotations

from dataclasses import asdict

from decloud_pl.chain.dialects import get_dialect
from decloud_pl.data.catalog import Catalog
from decloud_pl.data.entry import DataFolder
from decloud_pl.settings import Settings


def make_catalog(settings: Settings) -> Catalog:
    """The catalogue with the network's names and the user's folder, mappings, paths and own data sets; see `Catalog`.

    Raises:
        ConfigError: there is no such revision of the program.
    """
    return Catalog(
        DataFolder.from_node(asdict(settings.data)),
        settings.all_mappings(),
        settings.paths,
        settings.own_conf,
        chain_names=get_dialect(settings.network.dialect).datasets,
    )
