"""What most commands begin with: settings, the wallet, and the chain to read from."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from decloud_pl.errors import ConfigError, WalletError

if TYPE_CHECKING:
    from decloud_pl.chain.client import ChainClient
    from decloud_pl.chain.wallet import Wallet
    from decloud_pl.settings import NetworkConfig, Secrets, Settings, WalletConfig
    from decloud_pl.settings.load import Composed, Sources


def open_settings(overrides: Sequence[str]) -> Settings:
    """The settings in force, their data set names checked.

    Raises:
        ConfigError: see `decloud_pl.settings.load`.
    """
    from decloud_pl.settings.load import sources

    return checked(sources(overrides)).settings


def checked(given: Sources) -> Composed:
    """What `open_settings` gives, with the choices of groups, of settings that were read before.

    Raises:
        ConfigError: see `decloud_pl.settings.load`.
    """
    from decloud_pl.cli.dataset_names import check_names
    from decloud_pl.settings.load import composed

    for override in given.overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if key == "sweep":
            raise ConfigError(f"sweep={value} is for sweeps.", fix=f"Run: python -m decloud_pl -m sweep={value}")
    found = composed(given)
    settings = found.settings
    check_names(settings.datasets, settings.mappings, settings.paths, settings.own_conf)
    return found


def open_wallet(config: WalletConfig, secrets: Secrets) -> Wallet:
    """The wallet that ``wallet=…`` chooses; ``keypair`` takes the first key it finds, the others look at one place.

    Raises:
        WalletError: there is none; the message says all the ways to give one.
    """
    from decloud_pl.chain.solana_cli import DEFAULT_FILE, read_solana_cli_config
    from decloud_pl.chain.wallet import ENVIRONMENT_VARIABLE, load_wallet, parse_key

    kind, strict = config.kind, config.strict
    cli_config = Path(DEFAULT_FILE).expanduser()
    if kind == "environment":
        if not os.environ.get(ENVIRONMENT_VARIABLE):
            raise WalletError(
                f"wallet=environment, but {ENVIRONMENT_VARIABLE} is not set.",
                fix=f"Set {ENVIRONMENT_VARIABLE}, or choose another wallet.",
            )
        return load_wallet(keypair_path=None, environ=os.environ)
    if kind == "keyring":
        held = secrets.in_keyring("private_key")
        if held is None:
            raise WalletError(
                "wallet=keyring, but the system keyring holds no private_key.",
                fix="Put it there with: decloud-trainer config --set private_key=- --keyring",
            )
        return parse_key(held, "The system keyring")
    if kind == "solana-cli":
        found = read_solana_cli_config(cli_config)
        if found is None or found.keypair_path is None or not found.keypair_path.exists():
            raise WalletError(
                f"wallet=solana-cli, but {cli_config} names no key file.",
                fix="Name one with `solana config set --keypair FILE`, or choose another wallet.",
            )
        return load_wallet(keypair_path=found.keypair_path, environ={}, strict=strict)
    private_key = secrets.get("private_key")
    path = Path(config.keypair_path).expanduser()
    if private_key is None and not path.exists() and config.keypair_path != type(config)().keypair_path:
        # Another wallet than the one that was named would earn, and pay.
        raise WalletError(f"There is no key file {path}.", fix="Correct keypair_path or make one with `wallet new`.")
    return load_wallet(
        keypair_path=path, environ=os.environ, private_key=private_key, cli_config=cli_config, strict=strict
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
