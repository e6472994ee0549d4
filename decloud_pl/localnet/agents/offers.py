"""What the creator posts: a data set, and a base model that fits it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from decloud_pl.chain.dialect import Dialect
from decloud_pl.data.catalog import Catalog
from decloud_pl.data.entry import DataFolder
from decloud_pl.data.source import Kind
from decloud_pl.errors import DatasetError, UsageError, nearest
from decloud_pl.models.registry import ARCHITECTURES

MAPPINGS: Mapping[str, str] = {"custom": "digits"}
"""What this network's validator scores a data set on, where it is another."""

_DEFAULTS: Mapping[Kind, str] = {"image": "simple_cnn", "text": "text_bag"}


@dataclass(frozen=True, slots=True)
class Offer:
    """One kind of round.

    Attributes:
        dataset: the chain's name of the data set.
        architecture: of the base model.
        classes: of the base model.
    """

    dataset: str = "custom"
    architecture: str = "simple_cnn"
    classes: int = 10


def make_offers(
    datasets: Sequence[str], architectures: Sequence[str], data: DataFolder, dialect: Dialect
) -> tuple[Offer, ...]:
    """One offer for each data set, with the first architecture that takes its samples.

    Args:
        datasets: the chain's names.
        architectures: names; by default ``simple_cnn`` for images and ``text_bag`` for texts.
        data: where the data sets are.
        dialect: of the network.

    Raises:
        UsageError: a name that is none, or no architecture for a data set.
        DatasetError: a data set that cannot be scored because its files are not here.
    """
    for name in architectures:
        if name not in ARCHITECTURES:
            raise UsageError(f"There is no architecture {name!r}.", fix=nearest(name, list(ARCHITECTURES)))
    offers = []
    for dataset in datasets:
        if dataset not in dialect.datasets:
            close = difflib.get_close_matches(dataset, dialect.datasets, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else "`custom` is scored on digits."
            raise UsageError(f"The network has no data set {dataset!r}.", fix=hint)
        entry = Catalog(data, MAPPINGS, chain_names=dialect.datasets).resolve(dataset).entry
        if entry is None:
            raise DatasetError(f"The data set {dataset} has no files.")
        fitting = [name for name in architectures or (_DEFAULTS[entry.kind],) if ARCHITECTURES[name].kind == entry.kind]
        if not fitting:
            raise UsageError(
                f"None of the architectures takes the {entry.kind} samples of {dataset}.",
                fix=f"Add --architecture {_DEFAULTS[entry.kind]}.",
            )
        offers.append(Offer(dataset, fitting[0], entry.num_classes))
    return tuple(offers)
