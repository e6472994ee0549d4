"""Check the files that settings refer to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from decloud_pl.errors import ConfigError, DatasetError, WalletError

if TYPE_CHECKING:
    from decloud_pl.data.catalog import Catalog


def check_key_file(name: str) -> None:
    """Raise `ConfigError` if the file is missing or does not contain a key."""
    from decloud_pl.chain.wallet import load_wallet

    try:
        load_wallet(keypair_path=Path(name).expanduser(), environ={})
    except WalletError as error:
        raise ConfigError(f"keypair_path: {error.message}", fix=error.fix) from error


def check_paths(catalog: Catalog, names: Iterable[str]) -> None:
    """Raise `ConfigError` for the first data set in ``names`` whose files are missing or unreadable."""
    for name in names:
        try:
            catalog.find(name)
        except DatasetError as error:
            raise ConfigError(f"paths.{name}: {error.message}", fix=error.fix) from error
