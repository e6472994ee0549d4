"""Where the Hydra tree is: ``conf/`` at the top of a checkout, ``decloud_pl/conf`` in an installed wheel."""

from __future__ import annotations

from pathlib import Path

from decloud_pl.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent
USER_CONF = "conf"  # the folder in the user's home whose groups come beside the built-in ones


def config_dir(package: Path = _PACKAGE) -> Path:
    """The folder that holds ``config.yaml`` and the configuration groups.

    Args:
        package: the folder of the installed package.

    Raises:
        ConfigError: neither place has a ``config.yaml``.
    """
    # The wheel's own copy goes first: beside an installed package, `site-packages/conf` may be anybody's.
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise ConfigError(
        f"There is no configuration in {package / 'conf'}.",
        fix="Install decloud_pl again; its folder conf/ is missing.",
    )


def conf_folders(home: Path | None) -> tuple[Path, ...]:
    """Where choices of groups are: the built-in ones, then the user's own in a home folder.

    Raises:
        ConfigError: as `config_dir`.
    """
    own = None if home is None else home / USER_CONF
    return (config_dir(), *([own.resolve()] if own is not None and own.is_dir() else []))
