"""What most commands begin with: settings, and the chain to read from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decloud_pl.chain.client import ChainClient
    from decloud_pl.settings import NetworkConfig, Settings
    from decloud_pl.settings.load import Sources


def open_settings(overrides: Sequence[str]) -> Settings:
    """The settings in force, their data set names checked.

    Raises:
        ConfigError: see `decloud_pl.settings.load`.
    """
    from decloud_pl.settings.load import sources

    return checked_settings(sources(overrides))


def checked_settings(given: Sources) -> Settings:
    """What `open_settings` gives, of settings that were read before.

    Raises:
        ConfigError: see `decloud_pl.settings.load`.
    """
    from decloud_pl.cli.dataset_names import check_names
    from decloud_pl.settings.load import settings_of
    from decloud_pl.settings.refusals import refuse_sweep

    refuse_sweep(given.overrides)
    settings = settings_of(given)
    check_names(settings.datasets, settings.mappings, settings.paths, settings.own_conf)
    return settings


@asynccontextmanager
async def open_chain(network: NetworkConfig) -> AsyncIterator[ChainClient]:
    """The program's state as the configured endpoint shows it; needs no wallet and no lock."""
    from decloud_pl.chain.client import ChainClient
    from decloud_pl.daemon.connect import make_dialect, make_rpc

    dialect = make_dialect(network)
    rpc = make_rpc(network)
    try:
        yield ChainClient(rpc, dialect)
    finally:
        await rpc.aclose()
