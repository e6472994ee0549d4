"""Open what most commands need: the settings, the wallet's address and the chain."""

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
    """Compose the settings from config.json, the environment and the overrides; check them and return them.

    Raises:
        ConfigError: see `decloud_pl.config.load`.
    """
    from decloud_pl.config.layers import sources

    return checked(sources(overrides)).settings


def checked(given: Sources, *, stored: Collection[str] = ()) -> Composed:
    """Compose the settings from their sources; check their values and the names of data sets in them.

    For ``stored``, see `check_values`.

    Raises:
        ConfigError: see `decloud_pl.config.load`.
    """
    from decloud_pl.config.load import composed

    for override in given.overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if key == "sweep":
            raise ConfigError(f"sweep={value} works only in sweeps.", fix=f"Run: python -m decloud_pl -m sweep={value}")
    found = composed(given)
    check_values(found.settings, stored)
    return found


def check_values(settings: Settings, stored: Collection[str] = ()) -> None:
    """Check the names of data sets in composed settings.

    ``stored`` names the settings that the command is about to save. If they refer to files, this function also checks
    the files. If ``stored`` contains a mapping for a data set that the network does not have, this function prints a
    warning.

    Raises:
        ConfigError: a data set is unknown, or a file is missing or unreadable.
    """
    from decloud_pl.cli.config.dataset_names import check_names, warn_of_mappings

    check_names(settings)
    new = [name for name in settings.mappings if not {"mappings", f"mappings.{name}"}.isdisjoint(stored)]
    warn_of_mappings(settings.mappings, settings.network.assumed_dialect, stored=new)
    if "keypair_path" in stored:
        from decloud_pl.cli.config.files import check_key_file

        check_key_file(settings.wallet.keypair_path)
    paths = [name for name in settings.paths if not {"paths", f"paths.{name}"}.isdisjoint(stored)]
    if paths:
        from decloud_pl.cli.config.files import check_paths
        from decloud_pl.rounds.planner import make_catalog

        check_paths(make_catalog(settings), paths)


def own_address(settings: Settings) -> tuple[Pubkey | None, str]:
    """Return the wallet's address and an empty text, or None and the reason why the wallet is not usable.

    Raises:
        ConfigError: the custom wallet is invalid or not allowed.
    """
    from decloud_pl.rounds.wallets import open_wallet

    try:
        return open_wallet(settings.wallet, settings.secrets, settings.allow_packages).address, ""
    except WalletError as error:
        return None, error.message.rstrip(".")


@asynccontextmanager
async def open_chain(network: NetworkConfig, journal: Path | None = None) -> AsyncIterator[ChainClient]:
    """Open the configured endpoint for reading. This needs no wallet and does not lock the journal.

    With network.dialect=auto, the client uses the program's revision that the daemon detected and stored in the
    journal, for example to compute the treasury's share of a reward. If ``journal`` is None or contains no revision,
    the client uses the latest revision.
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
