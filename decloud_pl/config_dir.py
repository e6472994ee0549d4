"""Find the Hydra configuration: ``conf/`` at the top of a checkout, ``decloud_pl/conf`` in an installed wheel."""

from __future__ import annotations

from pathlib import Path

from decloud_pl.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent
USER_CONF = "conf"  # the folder in the user's home with further choices of the groups


def config_dir(package: Path = _PACKAGE) -> Path:
    """Return the folder with ``config.yaml`` and the configuration groups.

    Args:
        package: the folder of the installed package.

    Raises:
        ConfigError: neither ``package`` nor its parent folder has a ``conf/config.yaml``.
    """
    # The wheel's copy comes first, because `site-packages/conf` may belong to another package.
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise ConfigError(
        f"{package / 'conf' / 'config.yaml'} is missing.",
        fix="Reinstall decloud_pl.",
    )


def conf_folders(home: Path | None) -> tuple[Path, ...]:
    """Return the folders of configuration groups: the built-in one, then ``conf`` in the home folder if it exists.

    Raises:
        ConfigError: the built-in folder is missing, see `config_dir`.
    """
    own = None if home is None else home / USER_CONF
    return (config_dir(), *([own.resolve()] if own is not None and own.is_dir() else []))
