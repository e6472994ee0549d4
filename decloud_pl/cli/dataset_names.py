"""Whether the data sets that settings name exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decloud_pl.errors import ConfigError

if TYPE_CHECKING:
    from decloud_pl.settings import Settings


def check_names(settings: Settings) -> None:
    """Refuses a data set that neither the network, nor this package, nor the user's paths know.

    Raises:
        ConfigError: the first such one, with the nearest right name.
    """
    if not (settings.datasets or settings.mappings or settings.paths):
        return
    from decloud_pl.data.catalog import CHAIN_NAMES, names
    from decloud_pl.settings.names import nearest

    known = list(dict.fromkeys([*CHAIN_NAMES, *names(own=settings.own_conf)]))
    mapped_to = list(settings.mappings.values())
    for where, given, more in (
        ("datasets", settings.datasets, [*settings.paths, *mapped_to]),
        ("mappings", mapped_to, list(settings.paths)),
        # A name of the user's own is one that a mapping leads to.
        ("paths", list(settings.paths), mapped_to),
    ):
        for name in given:
            if name not in known and name not in more:
                raise ConfigError(f"{where}: there is no data set {name!r}.", fix=_short(nearest(name, known)))


def _short(phrase: str) -> str:
    # A hundred names are no help.
    return phrase if phrase.startswith("Did") else "`decloud-trainer datasets` lists them."
