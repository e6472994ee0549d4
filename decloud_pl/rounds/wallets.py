"""The wallets that ``conf/wallet`` chooses from. Each function opens one, for its ``_target_``.

A wallet of a user's own is a function of the same arguments, in a package that ``allow_packages`` names.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from decloud_pl.build import build
from decloud_pl.chain.solana_cli import DEFAULT_FILE, key_file, read_solana_cli_config
from decloud_pl.chain.wallet import ENVIRONMENT_VARIABLE, Wallet, load_wallet, parse_key
from decloud_pl.config import Secrets, WalletConfig
from decloud_pl.errors import ConfigError, WalletError


def open_wallet(config: WalletConfig, secrets: Secrets, packages: Collection[str] = ()) -> Wallet:
    """The wallet that ``wallet=…`` chooses; ``packages`` of the user's own may bring one.

    Raises:
        WalletError: there is none; the message says all the ways to give one.
        ConfigError: the wallet of a user's own is none, or is not allowed.
    """
    target = f"{__name__}.{config.kind.replace('-', '_')}" if config.kind else config._target_
    wallet = build({"_target_": target}, packages=packages, config=config, secrets=secrets)
    if not isinstance(wallet, Wallet):
        raise ConfigError(f"{target} does not give a wallet.", fix="Return a decloud_pl.chain.wallet.Wallet.")
    return wallet


def environment(config: WalletConfig, secrets: Secrets) -> Wallet:  # noqa: ARG001
    """The key in ``DECLOUD_PRIVATE_KEY`` alone."""
    if not os.environ.get(ENVIRONMENT_VARIABLE):
        raise WalletError(
            f"wallet=environment, but {ENVIRONMENT_VARIABLE} is not set.",
            fix=f"Set {ENVIRONMENT_VARIABLE}, or choose another wallet.",
        )
    return load_wallet(keypair_path=None, environ=os.environ)


def keyring(config: WalletConfig, secrets: Secrets) -> Wallet:  # noqa: ARG001
    """The key in the system keyring."""
    held = secrets.in_keyring("private_key")
    if held is None:
        raise WalletError(
            "wallet=keyring, but the system keyring holds no private_key.",
            fix="Put it there with: decloud-trainer config --set private_key=- --keyring",
        )
    return parse_key(held, "The system keyring")


def solana_cli(config: WalletConfig, secrets: Secrets) -> Wallet:  # noqa: ARG001
    """The key file that ``solana config get`` names."""
    file = Path(DEFAULT_FILE).expanduser()
    found = read_solana_cli_config(file)
    path = None if found is None else found.key_file()
    if path is None or not path.exists():
        raise WalletError(
            f"wallet=solana-cli, but {file} names no key file.",
            fix="Name one with `solana config set --keypair FILE`, or choose another wallet.",
        )
    return load_wallet(keypair_path=path, environ={}, strict=config.strict)


def keypair(config: WalletConfig, secrets: Secrets) -> Wallet:
    """The first key found in the environment, the setting ``private_key``, the key file and the Solana CLI's."""
    private_key = secrets.get("private_key")
    path = None if private_key else key_file(config.keypair_path, "The setting keypair_path")
    if path is not None and not path.exists() and config.keypair_path != type(config)().keypair_path:
        # Another wallet than the one that was named would earn, and pay.
        raise WalletError(f"There is no key file {path}.", fix="Correct keypair_path or make one with `wallet new`.")
    return load_wallet(
        keypair_path=path,
        environ=os.environ,
        private_key=private_key,
        cli_config=Path(DEFAULT_FILE).expanduser(),
        strict=config.strict,
    )
