"""From settings to the wallet and the chain: all that a command needs that only reads."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from solders.pubkey import Pubkey

from decloud_pl.chain.dialect import Dialect
from decloud_pl.chain.dialects import get_dialect
from decloud_pl.chain.network import AUTO, not_a_public_key
from decloud_pl.chain.revision import UNDECIDED, CurrentDialect, Revision
from decloud_pl.chain.rpc import RpcClient
from decloud_pl.chain.solana_cli import DEFAULT_FILE, read_solana_cli_config
from decloud_pl.chain.wallet import ENVIRONMENT_VARIABLE, Wallet, load_wallet, parse_key
from decloud_pl.config import NetworkConfig, Secrets, WalletConfig
from decloud_pl.errors import ConfigError, WalletError


def open_wallet(config: WalletConfig, secrets: Secrets) -> Wallet:
    """The wallet that ``wallet=…`` chooses; ``keypair`` takes the first key it finds, the others look at one place.

    Raises:
        WalletError: there is none; the message says all the ways to give one.
    """
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


def make_current_dialect(network: NetworkConfig) -> CurrentDialect:
    """The program's dialect while its revision may change: undecided where it is to be found out.

    Raises:
        ConfigError: there is no such revision, or the address is not a public key.
    """
    if network.dialect == AUTO:
        known = Revision(UNDECIDED, "nobody has looked yet", 0)
    else:
        known = Revision(network.dialect, "network.dialect says so", 0)
    return CurrentDialect(lambda name: make_dialect(replace(network, dialect=name)), known)


def make_dialect(network: NetworkConfig) -> Dialect:
    """The configured revision of the program at the configured address, with the configured treasury and referrer.

    Raises:
        ConfigError: there is no such revision, or an account is not a public key.
    """
    try:
        program_id = Pubkey.from_string(network.program_id)
    except ValueError as error:
        raise ConfigError(
            f"network.program_id {network.program_id!r} is not a Solana address.",
            fix="Copy it from the network's documentation.",
        ) from error
    return get_dialect(
        network.assumed_dialect,
        program_id,
        treasury=_account("network.treasury", network.treasury),
        referrer=_account("network.referrer", network.referrer),
    )


def _account(name: str, key: str) -> Pubkey | None:
    try:
        return Pubkey.from_string(key) if key else None
    except ValueError:
        raise not_a_public_key(name) from None


def make_rpc(network: NetworkConfig) -> RpcClient:
    """The chain's RPC with the configured fallbacks and rate.

    Raises:
        ConfigError: an address is not an http or https URL.
    """
    return RpcClient(
        network.rpc_url, fallbacks=network.fallback_rpc_urls, requests_per_second=network.requests_per_second
    )
