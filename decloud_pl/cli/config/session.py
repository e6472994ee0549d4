"""What most commands begin with: settings, and the chain to read from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from decloud_pl.errors import ConfigError, WalletError

if TYPE_CHECKING:
    from pathlib import Path

    from solders.pubkey import Pubkey

    from decloud_pl.chain.client import ChainClient
    from decloud_pl.config import NetworkConfig, Settings
    from decloud_pl.config.layers import Sources
    from decloud_pl.config.load import Composed


def open_settings(overrides: Sequence[str]) -> Settings:
    """The settings in force, their data set names checked.

    Raises:
        ConfigError: see `decloud_pl.config.load`.
    """
    from decloud_pl.config.layers import sources

    return checked(sources(overrides)).settings


def checked(given: Sources, *, stored: Collection[str] = ()) -> Composed:
    """What `open_settings` gives, with the choices of groups, of settings that were read before.

    Of the settings whose names are in ``stored``, which are kept now, the files are looked at as well, and mappings
    from unknown names are warned of.

    Raises:
        ConfigError: see `decloud_pl.config.load`.
    """
    from decloud_pl.cli.config.dataset_names import check_names, warn_of_mappings
    from decloud_pl.config.load import composed

    for override in given.overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if key == "sweep":
            raise ConfigError(f"sweep={value} is for sweeps.", fix=f"Run: python -m decloud_pl -m sweep={value}")
    found = composed(given)
    settings = found.settings
    dialect = settings.network.assumed_dialect
    check_names(settings.datasets, settings.mappings, settings.paths, dialect, settings.own_conf)
    new = [name for name in settings.mappings if not {"mappings", f"mappings.{name}"}.isdisjoint(stored)]
    warn_of_mappings(settings.mappings, dialect, stored=new)
    if "keypair_path" in stored:
        from decloud_pl.cli.config.files import check_key_file

        check_key_file(settings.wallet.keypair_path)
    paths = [name for name in settings.paths if not {"paths", f"paths.{name}"}.isdisjoint(stored)]
    if paths:
        from decloud_pl.cli.config.files import check_paths
        from decloud_pl.rounds.planner import make_catalog

        check_paths(make_catalog(settings), paths)
    return found


def own_address(settings: Settings) -> tuple[Pubkey | None, str]:
    """The wallet's address, for who only looks; without a wallet None, and why there is none.

    Raises:
        ConfigError: the wallet of a user's own is none, or is not allowed.
    """
    from decloud_pl.rounds.wallets import open_wallet

    try:
        return open_wallet(settings.wallet, settings.secrets, settings.allow_packages).address, ""
    except WalletError as error:
        return None, error.message.rstrip(".")


@asynccontextmanager
async def open_chain(network: NetworkConfig, journal: Path | None = None) -> AsyncIterator[ChainClient]:
    """The program's state as the configured endpoint shows it; needs no wallet and no lock.

    With a journal the amounts are those of the program's revision that was found out: it decides what a treasury takes.
    """
    from decloud_pl.chain.client import ChainClient
    from decloud_pl.chain.network import AUTO
    from decloud_pl.rounds.connect import known_dialect, make_dialect, make_rpc

    dialect = make_dialect(network)
    rpc = make_rpc(network)
    try:
        if journal is not None and network.dialect == AUTO:
            dialect = known_dialect(network, journal, await rpc.check_same_network())
        yield ChainClient(rpc, dialect)
    finally:
        await rpc.aclose()
