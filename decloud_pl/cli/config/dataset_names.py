"""Whether the data sets that settings name exist."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from decloud_pl.errors import ConfigError


def check_names(
    datasets: Sequence[str], mappings: Mapping[str, str], paths: Mapping[str, str], dialect: str, own: Path
) -> None:
    """Refuses a data set that neither the network, nor this package, nor the user's paths know.

    Args:
        datasets: to train for.
        mappings: from a round's name to the data set to train on.
        paths: of the user's own files, by data set.
        dialect: the network's revision of the program.
        own: the user's folder of configuration files.

    Raises:
        ConfigError: the first such one, with the nearest right name.
    """
    if not (datasets or mappings or paths):
        return
    from decloud_pl.chain.dialects import get_dialect
    from decloud_pl.data.catalog import names
    from decloud_pl.errors import nearest

    known = list(dict.fromkeys([*get_dialect(dialect).datasets, *names(own=own)]))
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


def warn_of_mappings(mappings: Mapping[str, str], dialect: str, *, stored: Collection[str] = ()) -> None:
    """Says on stderr which mapped names look misspelt, and which of those ``stored`` now no network carries.

    Any name may be mapped: a round can name a data set that is new.
    """
    from decloud_pl.chain.dialects import get_dialect

    known = get_dialect(dialect).datasets if mappings else ()
    for name in mappings:
        close = difflib.get_close_matches(name, known, n=1)
        if name in known or not (close or name in stored):
            continue
        hint = f"Did you mean {close[0]!r}?" if close else "It counts once a round names it."
        print(f"mappings.{name}: the network has no data set {name!r} today. {hint}", file=sys.stderr)


def _short(phrase: str) -> str:
    # A hundred names are no help.
    return phrase if phrase.startswith("Did") else "`decloud-trainer datasets` lists them."
