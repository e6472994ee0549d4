"""Whether the data sets that settings name exist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from decloud_pl.errors import ConfigError


def check_names(datasets: Sequence[str], mappings: Mapping[str, str], paths: Mapping[str, str], own: Path) -> None:
    """Refuses a data set that neither the network, nor this package, nor the user's paths know.

    Args:
        datasets: those to train for.
        mappings: the user's.
        paths: where the user keeps data sets.
        own: the user's Hydra tree, with further data sets.

    Raises:
        ConfigError: the first such one, with the nearest right name.
    """
    if not (datasets or mappings or paths):
        return
    from decloud_pl.data.catalog import CHAIN_NAMES, names
    from decloud_pl.errors import nearest

    known = list(dict.fromkeys([*CHAIN_NAMES, *names(own=own)]))
    mapped_to = list(mappings.values())
    for where, given, more in (
        ("datasets", datasets, [*paths, *mapped_to]),
        ("mappings", mapped_to, list(paths)),
        # A name of the user's own is one that a mapping leads to.
        ("paths", list(paths), mapped_to),
    ):
        for name in given:
            if name not in known and name not in more:
                raise ConfigError(f"{where}: there is no data set {name!r}.", fix=_short(nearest(name, known)))


def _short(phrase: str) -> str:
    # A hundred names are no help.
    return phrase if phrase.startswith("Did") else "`decloud-trainer datasets` lists them."
