"""Whether the data sets that settings name exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decloud_pl.errors import ConfigError

if TYPE_CHECKING:
    from decloud_pl.settings import Settings


def check_names(settings: Settings) -> None:
    """Refuses a data set that neither the network nor this package knows.

    Raises:
        ConfigError: the first such one, with the nearest right name.
    """
    from decloud_pl.chain.dialects.v1.datasets import DATASET_INDEX
    from decloud_pl.data.catalog import ENTRIES
    from decloud_pl.settings.names import nearest

    on_chain, readable = list(DATASET_INDEX), list(ENTRIES)
    either = list(dict.fromkeys([*on_chain, *readable]))
    for where, names, known in (
        ("datasets", settings.datasets, either),
        ("mappings", settings.mappings, on_chain),
        ("mappings", settings.mappings.values(), readable),
        ("paths", settings.paths, either),
    ):
        for name in names:
            if name not in known:
                raise ConfigError(f"{where}: there is no data set {name!r}.", fix=_nearest(nearest(name, known)))


def _nearest(phrase: str) -> str:
    # A hundred names are no help; `decloud-trainer datasets` lists them.
    return phrase if phrase.startswith("Did") or len(phrase) < 200 else "`decloud-trainer datasets` lists them."
