"""List the data sets with their licences, sizes and files.

Each round uses one of the network's 99 data sets. mappings.NAME=OTHER trains the rounds of the data set NAME on OTHER.
paths.NAME=FOLDER sets the path of your own files: torchvision's layout, class folders of images, .npz or .npy arrays,
or parquet, CSV or JSONL tables of texts (reviews.csv?text=review&label=stars names the columns). Labels start at 0; use
PATH?first_label=1 for class folders, arrays and tables whose labels start at 1. If the names of class folders are
not numbers, the folders are numbered in alphabetical order, and the list shows each label. Image files are read as
torchvision reads them: EXIF orientation is ignored and transparency is dropped. Gray images of 16 bits are scaled to 8
bits; images with 32 bits per channel are refused.

Examples:
  decloud-trainer datasets
  decloud-trainer datasets --download fashionmnist --download imdb
  decloud-trainer datasets mappings.custom=cifar10 paths.cifar10=/data/my_cifar --json
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from decloud_pl.cli.arguments import as_json, command, overrides
from decloud_pl.errors import UsageError

if TYPE_CHECKING:
    from decloud_pl.data.catalog import Catalog
    from decloud_pl.data.inventory import Item


@command(__doc__)
@click.option("--download", multiple=True, metavar="NAME", help="download this data set first (repeatable)")
@as_json
@overrides
def run(download: Sequence[str], as_json: bool, overrides: list[str]) -> int:
    from decloud_pl.cli.config.session import open_settings
    from decloud_pl.data.inventory import inventory
    from decloud_pl.rounds.planner import make_catalog

    settings = open_settings(overrides)
    catalog = make_catalog(settings)
    _download(download, catalog)
    items = inventory(catalog)
    if as_json:
        listed = [dataclasses.asdict(item) for item in items]
        print(json.dumps({"data_folder": str(catalog.data.folder), "mappings": catalog.mappings, "datasets": listed}))
        return 0
    for item in items:
        _print(item)
    print(f"\nData folder: {catalog.data.folder}")
    for name, other in catalog.mappings.items():
        print(f"Rounds with the data set {name} are trained on {other}.")
    return 0


def _download(names: Sequence[str], catalog: Catalog) -> None:
    from decloud_pl.cli.downloads import download
    from decloud_pl.data.catalog import entry

    for name in names:
        wanted = entry(name, own=catalog.own)
        if wanted.find(None, catalog.data) is not None:
            continue
        if not wanted.downloads:
            raise UsageError(
                f"The data set {name} needs no download: a dependency contains it.", fix="Leave out --download."
            )
        download(wanted, catalog.data)


def _print(item: Item) -> None:
    from decloud_pl.data.classes import spelled

    classes = "" if item.num_classes is None else f"{item.num_classes} classes, "
    if item.on_disk:
        where = f"{item.path} ({item.bytes_on_disk / 1e6:.1f} MB)" if item.path else "part of the installation"
    elif item.problem:
        where = item.problem
    else:
        where = "not downloaded yet; the daemon downloads them before the first round that needs them"
    others = [name for name in item.rounds if name != item.name]
    print(f"{item.name}: {item.kind or 'own'}, {classes}{item.size}")
    print(f"  licence: {item.licence}")
    print(f"  files: {where}")
    if item.classes:
        print(f"  labels: {spelled(item.classes)}")
    if others:
        print(f"  also for rounds of: {', '.join(others)}")
