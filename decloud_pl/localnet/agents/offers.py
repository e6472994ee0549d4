"""The offers that the creator posts as rounds: a data set, and a base model that fits it."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from decloud_pl.chain.dialect import Dialect
from decloud_pl.data.catalog import Catalog
from decloud_pl.data.entry import DataFolder
from decloud_pl.data.source import Kind
from decloud_pl.errors import DatasetError, DatasetNotFound, UsageError, nearest
from decloud_pl.models.registry import ARCHITECTURES

MAPPINGS: Mapping[str, str] = {"custom": "digits"}
"""The data set that the network's validator scores on, by the name on chain. Only the names that differ are listed."""

_DEFAULTS: Mapping[Kind, str] = {"image": "simple_cnn", "text": "text_bag"}


@dataclass(frozen=True, slots=True)
class Offer:
    """A kind of round that the creator posts.

    Attributes:
        dataset: the data set's name on chain.
        architecture: the base model's architecture.
        classes: the base model's number of classes.
    """

    dataset: str = "custom"
    architecture: str = "simple_cnn"
    classes: int = 10


def make_offers(
    datasets: Sequence[str], architectures: Sequence[str], data: DataFolder, dialect: Dialect
) -> tuple[Offer, ...]:
    """Make one offer for each data set, with the first of the ``architectures`` that fits the data set's samples.

    Args:
        datasets: names of data sets on chain.
        architectures: names of architectures. If empty, ``simple_cnn`` for images and ``text_bag`` for texts.
        data: the folder of the data sets.
        dialect: the network's dialect.

    Raises:
        UsageError: a name is unknown, or no architecture fits a data set.
        DatasetError: the validator cannot score a data set, because the catalog does not have it.
        DatasetNotFound: the validator cannot score a data set, because its files are missing.
    """
    for name in architectures:
        if name not in ARCHITECTURES:
            raise UsageError(f"Unknown architecture {name!r}.", fix=nearest(name, list(ARCHITECTURES)))
    offers = []
    for dataset in datasets:
        if dataset not in dialect.datasets:
            close = difflib.get_close_matches(dataset, dialect.datasets, n=1)
            hint = (
                f"Did you mean {close[0]!r}?"
                if close
                else "Use a name that the chain has, for example custom, which stands for the digits."
            )
            raise UsageError(f"The network has no data set {dataset!r}.", fix=hint)
        try:
            entry = Catalog(data, MAPPINGS, chain_names=dialect.datasets).resolve(dataset).entry
        except DatasetNotFound as error:  # its remedy names settings, which the network does not have
            raise DatasetNotFound(error.message, fix=_how_to_get(MAPPINGS.get(dataset, dataset), data)) from None
        if entry is None:
            raise DatasetError(f"The catalog has no data set {dataset}, so the validator cannot score it.")
        fitting = [name for name in architectures or (_DEFAULTS[entry.kind],) if ARCHITECTURES[name].kind == entry.kind]
        if not fitting:
            raise UsageError(
                f"None of the given architectures accepts the {entry.kind} samples of {dataset}.",
                fix=f"Add --architecture {_DEFAULTS[entry.kind]}.",
            )
        offers.append(Offer(dataset, fitting[0], entry.num_classes))
    return tuple(offers)


def _how_to_get(dataset: str, data: DataFolder) -> str:
    command = f"decloud-trainer datasets --download {dataset}"
    if data.folder == DataFolder.from_node(None).folder:
        return f"Run `{command}`, or name the folder that has them with --data."
    return f"Run `{command} data.folder={shlex.quote(str(data.folder))}`, or name another folder with --data."
