"""The wallet: a key that signs and is never shown.

Keys come from ``DECLOUD_PRIVATE_KEY`` (base58 or a JSON array of 64 numbers), from a setting, or from a key file
in the Solana CLI's format (a JSON array of 64 numbers). No message of this module contains key material.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

import base58
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from decloud_pl.chain.solana_cli import read_solana_cli_config
from decloud_pl.durable import make_private
from decloud_pl.errors import ConfigError, WalletError, unquoted

logger = logging.getLogger(__name__)

ENVIRONMENT_VARIABLE = "DECLOUD_PRIVATE_KEY"
_KEY_BYTES = 64
_BYTE_ORDER_MARK = "\ufeff"  # which editors on Windows put before a text in UTF-8
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
    try:
        stripped = unquoted(text.lstrip(_BYTE_ORDER_MARK).strip(), source)
        key = bytes(json.loads(stripped)) if stripped.startswith("[") else base58.b58decode(stripped)
        return Wallet(Keypair.from_bytes(key))
    except ConfigError as error:
        raise WalletError(error.message, fix=error.fix) from None
    except (ValueError, TypeError, RecursionError):
        pass  # the message is made outside: the original error, which would be its context, can quote the text
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
    for path in _key_files(keypair_path, cli_config):
        data = _read(path, strict=strict)
        if data is not None:
            return parse_key(data, f"The key file {path}")
    ways = [f"set {ENVIRONMENT_VARIABLE}", "keep one with `decloud-trainer config --set private_key=-`"]
    if keypair_path is not None:
        ways.insert(0, f"make a key file at {keypair_path} with `decloud-trainer wallet new` or `solana-keygen new`")
    if cli_config is not None:
        ways.append(f"name one in {cli_config} with `solana config set --keypair FILE`")
    fix = ", or ".join(ways)
    raise WalletError("No private key found.", fix=f"{fix[:1].upper()}{fix[1:]}.")


def create_wallet(path: Path) -> Wallet:
    """Makes a new key and writes it to ``path``, readable by its owner alone.

    Raises:
        WalletError: the file exists already or cannot be written; an existing key is never overwritten.
    """
    keypair = Keypair()
    try:
        with contextlib.suppress(FileExistsError):  # said below of the file, where it is true
            make_private(path.parent)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                json.dump(list(bytes(keypair)), file)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            path.unlink()  # it is this call's own and holds no whole key
            raise
    except FileExistsError:
        raise WalletError(
            f"{path} exists already and was left as it is.", fix="Choose another file with --keypair."
        ) from None
    except OSError as error:
        raise WalletError(
            f"{path} cannot be written: {error.strerror}.", fix="Choose another file with --keypair."
        ) from error
    return Wallet(keypair)


def _read(path: Path, *, strict: bool) -> str | None:
    """A key file's text, None when there is no such file."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            data = file.read(_LONGEST_KEY_FILE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
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
    return data.decode("utf-8", "replace")


def _key_files(keypair_path: Path | None, cli_config: Path | None) -> Iterator[Path]:
    """The files to look into; the Solana CLI's configuration is read when its turn comes."""
    if keypair_path is not None:
        yield keypair_path
    try:
        config = None if cli_config is None else read_solana_cli_config(cli_config)
    except ConfigError as error:
        raise WalletError(error.message, fix=error.fix) from error
    named = None if config is None else config.key_file()
    if named is not None:
        yield named
