"""What most commands begin with: settings, the wallet, and the chain to read from."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from decloud_pl.errors import WalletError

if TYPE_CHECKING:
    from decloud_pl.chain.client import ChainClient
    from decloud_pl.chain.wallet import Wallet
    from decloud_pl.settings import NetworkConfig, Secrets, Settings, WalletConfig
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


def open_wallet(config: WalletConfig, secrets: Secrets) -> Wallet:
    """The wallet: ``DECLOUD_PRIVATE_KEY``, ``private_key``, ``keypair_path``, the Solana CLI's key file.

    Raises:
        WalletError: there is none; the message says all the ways to give one.
    """
    from decloud_pl.chain.solana_cli import DEFAULT_FILE
    from decloud_pl.chain.wallet import load_wallet
    from decloud_pl.settings import WalletConfig

    private_key = secrets.get("private_key")
    path = Path(config.keypair_path).expanduser()
    if private_key is None and not path.exists() and config.keypair_path != WalletConfig().keypair_path:
        # Another wallet than the one that was named would earn, and pay.
        raise WalletError(f"There is no key file {path}.", fix="Correct keypair_path or make one with `wallet new`.")
    return load_wallet(
        keypair_path=path,
        environ=os.environ,
        private_key=private_key,
        cli_config=Path(DEFAULT_FILE).expanduser(),
        strict=config.strict,
    )


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
