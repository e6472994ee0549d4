"""Whether the files are there that settings name."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from decloud_pl.errors import ConfigError, DatasetError, WalletError

if TYPE_CHECKING:
    from decloud_pl.config import Settings


def check_files(settings: Settings, names: Collection[str]) -> None:
    """Refuses a key file or the files of a data set that cannot be used.

    Args:
        settings: in force.
        names: the settings to look at, as users write them; ``paths.NAME`` is one entry of a table.

    Raises:
        ConfigError: the first such file.
    """
    if "keypair_path" in names:
        from decloud_pl.chain.wallet import load_wallet

        path = Path(settings.wallet.keypair_path).expanduser()
        try:
            load_wallet(keypair_path=path, environ={})
        except WalletError as error:
            raise ConfigError(f"keypair_path: {error.message}", fix=error.fix) from error
    for name in settings.paths:
        if not {"paths", f"paths.{name}"}.isdisjoint(names):
            from decloud_pl.rounds.planner import make_catalog

            try:
                make_catalog(settings).find(name)
            except DatasetError as error:
                raise ConfigError(f"paths.{name}: {error.message}", fix=error.fix) from error
