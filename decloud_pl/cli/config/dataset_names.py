"""Check the names of data sets in settings."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from decloud_pl.errors import ConfigError, nearest

if TYPE_CHECKING:
    from decloud_pl.config import Settings


def check_names(settings: Settings) -> None:
    """Check that each data set in the settings exists in the network, in this package or in the user's paths.

    Raises:
        ConfigError: a data set is unknown; the message suggests the nearest one.
    """
    mapped_to, paths = list(settings.mappings.values()), list(settings.paths)
    if not (settings.datasets or mapped_to or paths):
        return
    from decloud_pl.chain.dialects import get_dialect
    from decloud_pl.data.catalog import names

    on_chain = get_dialect(settings.network.assumed_dialect).datasets
    known = list(dict.fromkeys([*on_chain, *names(own=settings.own_conf)]))
    for where, given, more in (
        ("datasets", settings.datasets, [*paths, *mapped_to]),
        ("mappings", mapped_to, paths),
        # A path may have any name that a mapping refers to.
        ("paths", paths, mapped_to),
    ):
        for name in given:
            if name not in known and name not in more:
                raise ConfigError(f"{where}: unknown data set {name!r}.", fix=_short(nearest(name, known)))


def warn_of_mappings(mappings: Mapping[str, str], dialect: str, *, stored: Collection[str] = ()) -> None:
    """Warn on stderr about mappings for data sets that the network does not have.

    Such a mapping is allowed, because a future round can have a new data set. So the warning appears only in two cases:
    the data set's name looks misspelled, or the command is about to save the mapping. ``stored`` contains the data sets
    of the mappings that the command is about to save.
    """
    from decloud_pl.chain.dialects import get_dialect

    known = get_dialect(dialect).datasets if mappings else ()
    for name in mappings:
        close = difflib.get_close_matches(name, known, n=1)
        if name in known or not (close or name in stored):
            continue
        hint = f"Did you mean {close[0]!r}?" if close else "The mapping applies as soon as a round uses it."
        print(f"mappings.{name}: the network does not have the data set {name!r} yet. {hint}", file=sys.stderr)


def _short(phrase: str) -> str:
    # A list of a hundred names would not help.
    return phrase if phrase.startswith("Did") else "Run `decloud-trainer datasets` to list all data sets."
