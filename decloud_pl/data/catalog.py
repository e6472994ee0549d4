"""The catalogue: which data set to train on when a round names one. Imports no torch.

The chain's names come here in lower case. A name leads to an entry by itself, through a mapping the user gave
(``custom`` → ``digits``), or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from decloud_pl.errors import DatasetNotFound, DatasetNotSupported

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


@dataclass(frozen=True, slots=True)
class Entry:
    """A data set this package can read.

    Attributes:
        name: the file in ``conf/dataset`` that declares its reader.
        num_classes: how many labels.
        licence: of the data.
        size: for people.
        folder: where torchvision would keep it, below a data folder; empty for data inside a dependency.
        files: what must be there, each possibly with ``.gz``.
        elsewhere: other folders that hold ``files`` directly, for example a distribution's package.
    """

    name: str
    num_classes: int
    licence: str
    size: str
    folder: str = ""
    files: tuple[str, ...] = ()
    elsewhere: tuple[Path, ...] = ()

    def locate(self, roots: tuple[Path, ...]) -> Path | None:
        """The folder that holds every file, None when there is none; ``roots`` are data folders."""
        if not self.files:
            return Path()
        candidates = [root / self.folder for root in roots] + list(roots) + list(self.elsewhere)
        return next((folder for folder in candidates if _complete(folder, self.files)), None)


_IDX = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)

ENTRIES: Mapping[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry("digits", 10, "CC BY 4.0 (UCI Optical Recognition of Handwritten Digits)", "1,797 images, installed"),
        Entry(
            "fashionmnist",
            10,
            "MIT (Zalando Research)",
            "70,000 images, 31 MB",
            folder="FashionMNIST/raw",
            files=_IDX,
            elsewhere=(DEBIAN_FASHION_MNIST,),
        ),
    )
}


def resolve(
    name: str, mappings: Mapping[str, str], paths: Mapping[str, str], *, data_folder: Path | None = None
) -> Entry:
    """The entry to train on for a round that names ``name``.

    Args:
        name: the chain's name, lower case.
        mappings: from the chain's names to the user's choice.
        paths: where the user keeps a data set.
        data_folder: where data sets are kept otherwise.

    Raises:
        DatasetNotSupported: nothing leads from the name to an entry.
        DatasetNotFound: the entry's files are not on this machine.
    """
    wanted = mappings.get(name, name)
    entry = ENTRIES.get(wanted)
    if entry is None:
        if wanted != name:
            raise DatasetNotSupported(
                f"The data set {name} is mapped to {wanted}, which cannot be read.",
                fix=f"Map it to one of: {', '.join(ENTRIES)}.",
            )
        raise DatasetNotSupported(
            f"The data set {name} is not supported.", fix=f"Map it with mappings.{name}=NAME ({', '.join(ENTRIES)})."
        )
    if entry.locate(data_roots(entry.name, paths, data_folder)) is None:
        raise DatasetNotFound(
            f"The files of the data set {entry.name} are not on this machine.",
            fix=f"Set paths.{entry.name} to the folder that holds them.",
        )
    return entry


def data_roots(name: str, paths: Mapping[str, str], data_folder: Path | None) -> tuple[Path, ...]:
    """The folders to look for a data set in: the user's own alone, where one is set."""
    if name in paths:
        return (Path(paths[name]).expanduser(),)
    return () if data_folder is None else (data_folder,)


def _complete(folder: Path, files: tuple[str, ...]) -> bool:
    return all((folder / file).is_file() or (folder / f"{file}.gz").is_file() for file in files)
