"""The wallet: a key that signs and is never shown.

Keys come from ``DECLOUD_PRIVATE_KEY`` (base58 or a JSON array of 64 numbers), from a setting, or from a key file
in the Solana CLI's format (a JSON array of 64 numbers). No message of this module contains key material.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from solders.keypair import Keypair
from solders.pubkey import Pubkey

from decloud_pl.errors import WalletError

logger = logging.getLogger(__name__)

ENVIRONMENT_VARIABLE = "DECLOUD_PRIVATE_KEY"
_KEY_BYTES = 64
_LONGEST_KEY_FILE = 4096


class Wallet:
    """A key pair. ``repr`` and ``str`` show the address alone; pickling is refused.

    What this does not cover: the key is in this process's memory, and whoever can read that has it.
    """

    __slots__ = ("_keypair",)

    def __init__(self, keypair: Keypair) -> None:
        self._keypair = keypair

    @property
    def address(self) -> Pubkey:
        return self._keypair.pubkey()

    @property
    def signer(self) -> Keypair:
        """The key pair, for signing a transaction and nothing else."""
        return self._keypair

    def __repr__(self) -> str:
        return f"Wallet({self.address})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a wallet is not to be pickled: its key would leave this process")


def parse_key(text: str, source: str) -> Wallet:
    """A wallet from base58 text or a JSON array of 64 numbers.

    Args:
        text: the key.
        source: where it came from, for the message.

    Raises:
        WalletError: it is neither; the message does not repeat it.
    """
    stripped = text.strip()
    try:
        if stripped.startswith("["):
            return Wallet(Keypair.from_bytes(bytes(json.loads(stripped))))
        return Wallet(Keypair.from_bytes(bytes(Keypair.from_base58_string(stripped))))
    except BaseException as error:
        # solders reports bad base58 as a Rust panic, which is not an Exception; anything else goes on.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
    # Raised outside the handler: the original error can quote the text.
    raise WalletError(
        f"{source} does not hold a private key.",
        fix=f"It must be base58 text or a JSON array of {_KEY_BYTES} numbers, as the Solana CLI writes it.",
    )


def load_wallet(
    *,
    keypair_path: Path | None,
    environ: Mapping[str, str],
    private_key: str | None = None,
    cli_config: Path | None = None,
    strict: bool = False,
) -> Wallet:
    """The first key found in: the environment, the setting, the key file, the Solana CLI's configured key file.

    Args:
        keypair_path: a key file; passed over when it does not exist.
        environ: where ``DECLOUD_PRIVATE_KEY`` is looked up.
        private_key: the setting of that name.
        cli_config: the Solana CLI's ``config.yml``, whose ``keypair_path`` comes last.
        strict: refuse a key file that group or others can read instead of warning.

    Raises:
        WalletError: no key anywhere, or the first one found is unusable.
    """
    if environ.get(ENVIRONMENT_VARIABLE):
        return parse_key(environ[ENVIRONMENT_VARIABLE], ENVIRONMENT_VARIABLE)
    if private_key:
        return parse_key(private_key, "The setting private_key")
    for path in (keypair_path, _configured_path(cli_config)):
        if path is not None and path.exists():
            return _load_file(path, strict=strict)
    looked = f" or put a key file at {keypair_path}" if keypair_path else ""
    raise WalletError(
        "No private key found.",
        fix=f"Set {ENVIRONMENT_VARIABLE}{looked} (`decloud-trainer wallet new` or `solana-keygen new` make one).",
    )


def create_wallet(path: Path) -> Wallet:
    """Makes a new key and writes it to ``path``, readable by its owner alone.

    Raises:
        WalletError: the file exists already or cannot be written; an existing key is never overwritten.
    """
    keypair = Keypair()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise WalletError(
            f"{path} exists already and was left as it is.", fix="Choose another file with --keypair."
        ) from None
    except OSError as error:
        raise WalletError(
            f"{path} cannot be written: {error.strerror}.", fix="Choose another file with --keypair."
        ) from error
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        json.dump(list(bytes(keypair)), file)
        file.flush()
        os.fsync(file.fileno())
    return Wallet(keypair)


def _load_file(path: Path, *, strict: bool) -> Wallet:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            data = file.read(_LONGEST_KEY_FILE + 1)
    except OSError as error:
        raise WalletError(
            f"The key file {path} cannot be read: {error.strerror}.", fix="Check its owner and mode."
        ) from error
    if mode & 0o077:
        advice = f"Run: chmod 600 {path}"
        if strict:
            raise WalletError(f"The key file {path} can be read by others (mode {mode:03o}).", fix=advice)
        logger.warning("The key file %s can be read by others (mode %03o). %s", path, mode, advice)
    if len(data) > _LONGEST_KEY_FILE:
        raise WalletError(f"{path} is too large to be a key file.", fix="Name the right file.")
    return parse_key(data.decode("ascii", "replace"), f"The key file {path}")


def _configured_path(cli_config: Path | None) -> Path | None:
    """``keypair_path`` of the Solana CLI's configuration, None when there is none."""
    if cli_config is None or not cli_config.exists():
        return None
    import yaml

    try:
        tree = yaml.safe_load(cli_config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise WalletError(
            f"The Solana CLI's configuration {cli_config} cannot be read.", fix="Correct or remove it."
        ) from error
    path = tree.get("keypair_path") if isinstance(tree, dict) else None
    return Path(path).expanduser() if isinstance(path, str) else None
