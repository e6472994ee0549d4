"""The wallet: a private key that signs transactions. This package never shows the key.

Keys come from ``DECLOUD_PRIVATE_KEY`` (base58 or a JSON array of 64 numbers), from a setting, or from a key file
in the Solana CLI's format (a JSON array of 64 numbers). No message of this module contains key material.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

import base58
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from decloud_pl.chain.solana_cli import read_solana_cli_config
from decloud_pl.durable import make_private, sync_folder
from decloud_pl.errors import ConfigError, WalletError, unquoted

logger = logging.getLogger(__name__)

ENVIRONMENT_VARIABLE = "DECLOUD_PRIVATE_KEY"
_KEY_BYTES = 64
_BYTE_ORDER_MARK = "\ufeff"  # some editors on Windows write it at the start of a UTF-8 file
_LONGEST_KEY_FILE = 4096


class Wallet:
    """A key pair. ``repr`` and ``str`` show only the address, and pickling raises `TypeError`.

    The key itself stays readable in the memory of this process.

    Attributes:
        file: the key file from which the key was read; None if it comes from elsewhere.
    """

    __slots__ = ("_keypair", "file")

    def __init__(self, keypair: Keypair, file: Path | None = None) -> None:
        self._keypair = keypair
        self.file = file

    @property
    def address(self) -> Pubkey:
        return self._keypair.pubkey()

    @property
    def signer(self) -> Keypair:
        """The key pair; use it only to sign transactions."""
        return self._keypair

    def __repr__(self) -> str:
        return f"Wallet({self.address})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A wallet cannot be pickled, because its key must not leave this process.")


def parse_key(text: str, source: str) -> Wallet:
    """Return the wallet of a private key.

    Args:
        text: the key as base58 text or as a JSON array of 64 numbers.
        source: where the key comes from, for the message.

    Raises:
        WalletError: ``text`` is not a key. The message does not repeat it.
    """
    try:
        stripped = unquoted(text.lstrip(_BYTE_ORDER_MARK).strip(), source)
        key = bytes(json.loads(stripped)) if stripped.startswith("[") else base58.b58decode(stripped)
        return Wallet(Keypair.from_bytes(key))
    except ConfigError as error:
        raise WalletError(error.message, fix=error.fix) from None
    except (ValueError, TypeError, RecursionError):
        pass  # raised below, without this error as its context, because it may quote the key
    raise WalletError(
        f"{source} does not hold a private key.",
        fix=f"Use base58 text or a JSON array of {_KEY_BYTES} numbers, as the Solana CLI writes it.",
    )


def load_wallet(
    *,
    keypair_path: Path | None,
    environ: Mapping[str, str],
    private_key: str | None = None,
    cli_config: Path | None = None,
    strict: bool = False,
) -> Wallet:
    """Return the wallet of the first key found.

    The order is: the environment, the setting, the key file, the key file of the Solana CLI's configuration.

    Args:
        keypair_path: a key file; ignored if it does not exist.
        environ: the environment variables, which may include ``DECLOUD_PRIVATE_KEY``.
        private_key: the value of the setting ``private_key``.
        cli_config: the Solana CLI's ``config.yml``, whose ``keypair_path`` is tried last.
        strict: raise an error for a key file that the group or others can read, instead of logging a warning.

    Raises:
        WalletError: there is no key, or the first key found is invalid.
    """
    if environ.get(ENVIRONMENT_VARIABLE):
        return parse_key(environ[ENVIRONMENT_VARIABLE], ENVIRONMENT_VARIABLE)
    if private_key:
        return parse_key(private_key, "The setting private_key")
    for path in _key_files(keypair_path, cli_config):
        data = _read(path, strict=strict)
        if data is not None:
            return Wallet(parse_key(data, f"The key file {path}").signer, path)
    ways = [f"set {ENVIRONMENT_VARIABLE}", "store one with `decloud-trainer config --set private_key=-`"]
    if keypair_path is not None:
        quoted = shlex.quote(str(keypair_path))
        new = f"`decloud-trainer wallet new --keypair {quoted}` or `solana-keygen new --outfile {quoted}`"
        ways.insert(0, f"create one with {new}")
    if cli_config is not None:
        ways.append(f"choose a key file in {cli_config} with `solana config set --keypair FILE`")
    fix = ", or ".join(ways)
    raise WalletError("No private key found.", fix=f"{fix[:1].upper()}{fix[1:]}.")


def create_wallet(path: Path) -> Wallet:
    """Create a new key and write it to ``path``. Only the owner can read the file.

    Raises:
        WalletError: the file cannot be written, or it exists. An existing file is never overwritten.
    """
    keypair = Keypair()
    try:
        with contextlib.suppress(FileExistsError):  # os.open raises a clearer error below
            make_private(path.parent)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                json.dump(list(bytes(keypair)), file)
                file.flush()
                os.fsync(file.fileno())
            sync_folder(path.parent)  # a wallet may be funded at once, and its key must then survive a power failure
        except OSError:
            path.unlink()  # this call created it, and its key may not survive a power failure
            raise
    except FileExistsError:
        raise WalletError(
            f"{path} already exists and was not changed.", fix="Choose another file with --keypair."
        ) from None
    except OSError as error:
        raise WalletError(
            f"{path} cannot be written: {error.strerror}.", fix="Choose another file with --keypair."
        ) from error
    return Wallet(keypair)


def _read(path: Path, *, strict: bool) -> str | None:
    """Return the text of a key file, or None if it does not exist."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            data = file.read(_LONGEST_KEY_FILE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise WalletError(
            f"The key file {path} cannot be read: {error.strerror}.", fix="Check the owner and the mode of the file."
        ) from error
    if mode & 0o077:
        advice = f"Run: chmod 600 {path}"
        if strict:
            raise WalletError(f"Other users can read the key file {path} (mode {mode:03o}).", fix=advice)
        logger.warning("Other users can read the key file %s (mode %03o). %s", path, mode, advice)
    if len(data) > _LONGEST_KEY_FILE:
        raise WalletError(
            f"{path} is too large for a key file (more than {_LONGEST_KEY_FILE} bytes).", fix="Choose another file."
        )
    return data.decode("utf-8", "replace")


def _key_files(keypair_path: Path | None, cli_config: Path | None) -> Iterator[Path]:
    """Yield ``keypair_path``, then the Solana CLI's key file.

    The CLI's configuration is read only if the caller requests the second path.

    Raises:
        WalletError: the CLI's configuration is invalid.
    """
    if keypair_path is not None:
        yield keypair_path
    try:
        config = None if cli_config is None else read_solana_cli_config(cli_config)
    except ConfigError as error:
        raise WalletError(error.message, fix=error.fix) from error
    named = None if config is None else config.key_file()
    if named is not None:
        yield named
