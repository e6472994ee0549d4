"""Functions that each open one kind of wallet. Each file in ``conf/wallet`` names one of them as its ``_target_``.

A custom wallet is a function with the same arguments, in a package listed in ``allow_packages``.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection
from pathlib import Path

from decloud_pl.build import build
from decloud_pl.chain.solana_cli import DEFAULT_FILE, key_file, read_solana_cli_config
from decloud_pl.chain.wallet import ENVIRONMENT_VARIABLE, Wallet, load_wallet, parse_key
from decloud_pl.config import Secrets, WalletConfig
from decloud_pl.errors import ConfigError, WalletError


def open_wallet(config: WalletConfig, secrets: Secrets, packages: Collection[str] = ()) -> Wallet:
    """Open the wallet that ``wallet=…`` selects. A custom wallet must come from one of the ``packages``.

    Raises:
        WalletError: no key was found; the message lists all ways to configure one.
        ConfigError: the custom wallet is not a `Wallet`, or its package is not allowed.
    """
    target = f"{__name__}.{config.kind.replace('-', '_')}" if config.kind else config._target_
    wallet = build({"_target_": target}, packages=packages, config=config, secrets=secrets)
    if not isinstance(wallet, Wallet):
        raise ConfigError(f"{target} does not return a wallet.", fix="Return a decloud_pl.chain.wallet.Wallet.")
    return wallet


def environment(config: WalletConfig, secrets: Secrets) -> Wallet:  # noqa: ARG001
    """Open the wallet with the key in ``DECLOUD_PRIVATE_KEY``."""
    if not os.environ.get(ENVIRONMENT_VARIABLE):
        raise WalletError(
            f"wallet=environment, but {ENVIRONMENT_VARIABLE} is not set.",
            fix=f"Set {ENVIRONMENT_VARIABLE}, or choose another wallet.",
        )
    return load_wallet(keypair_path=None, environ=os.environ)


def keyring(config: WalletConfig, secrets: Secrets) -> Wallet:  # noqa: ARG001
    """Open the wallet with the key in the system keyring."""
    held = secrets.in_keyring("private_key")
    if held is None:
        raise WalletError(
            "wallet=keyring, but the system keyring has no private_key.",
            fix="Store it with: decloud-trainer config --set private_key=- --keyring",
        )
    return parse_key(held, "The system keyring")


def solana_cli(config: WalletConfig, secrets: Secrets) -> Wallet:  # noqa: ARG001
    """Open the wallet with the key file that ``solana config get`` shows."""
    file = Path(DEFAULT_FILE).expanduser()
    found = read_solana_cli_config(file)
    path = None if found is None else found.key_file()
    if path is None or not path.exists():
        raise WalletError(
            f"wallet=solana-cli, but {file} does not name an existing key file.",
            fix="Set one with `solana config set --keypair FILE`, or choose another wallet.",
        )
    return load_wallet(keypair_path=path, environ={}, strict=config.strict)


def keypair(config: WalletConfig, secrets: Secrets) -> Wallet:
    """Open the wallet with the first key found.

    The places are searched in this order: the environment, the setting ``private_key``, the key file ``keypair_path``,
    the Solana CLI's key file.
    """
    private_key = secrets.get("private_key")
    path = None if private_key else key_file(config.keypair_path, "The setting keypair_path")
    if path is not None and not path.exists() and config.keypair_path != type(config)().keypair_path:
        # Otherwise another wallet than the configured one would earn and pay.
        raise WalletError(
            f"keypair_path: the key file {path} does not exist.",
            fix="Correct keypair_path, or create the file with"
            f" `decloud-trainer wallet new --keypair {shlex.quote(str(path))}`.",
        )
    return load_wallet(
        keypair_path=path,
        environ=os.environ,
        private_key=private_key,
        cli_config=Path(DEFAULT_FILE).expanduser(),
        strict=config.strict,
    )
