"""Every entry of the catalog reads its public format and fulfills the contract of `Source`."""

from __future__ import annotations

import shutil
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision
from numpy.typing import NDArray

from decloud_pl.build import build
from decloud_pl.config import compose
from decloud_pl.data.catalog import Catalog, names
from decloud_pl.data.catalog import entry as entry_of
from decloud_pl.data.entry import DataFolder
from decloud_pl.data.source import ImageSplit, Source, Split, TextSplit
from decloud_pl.data.user_files import UserFiles
from decloud_pl.models.inputs import ImageInput, InputSpec, TextInput
from decloud_pl.train.fit.encoding import encoder_for
from tests.data import tiny

ALL = names()
ENTRIES = {name: entry_of(name) for name in ALL}
IN_FILES = [name for name in ALL if name != "digits"]


def source(name: str, data: Path, paths: dict[str, str] | None = None) -> Source:
    folder = DataFolder(data, download=False)
    made: Source = build(Catalog(folder, paths=paths or {}).resolve(name).node(folder))
    return made


def rows(split: Split) -> list[bytes]:
    if isinstance(split, TextSplit):
        return [f"{text}{label}".encode() for text, label in zip(split.texts, split.labels, strict=True)]
    return [image.tobytes() + label.tobytes() for image, label in zip(pixels(split), split.labels, strict=True)]


def pixels(split: Split) -> NDArray[np.uint8]:
    assert isinstance(split, ImageSplit)
    assert isinstance(split.images, np.ndarray)
    return split.images


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_there_are_eleven_with_all_that_is_to_be_told() -> None:
    assert set(ALL) == set(tiny.CLASSES)
    assert {name: entry.num_classes for name, entry in ENTRIES.items()} == tiny.CLASSES
    assert {name for name, entry in ENTRIES.items() if entry.kind == "text"} == set(tiny.TEXTS)
    for entry in ENTRIES.values():
        assert entry.licence
        assert entry.size
        assert entry.is_embedded or entry.downloads


@pytest.mark.parametrize("name", ALL)
def test_splits_cover_the_files_never_mix_and_never_change(name: str, data: Path) -> None:
    tiny.write(name, data)
    made = source(name, data)
    assert (made.name, made.num_classes) == (name, tiny.CLASSES[name])
    splits = {split: made.load(split) for split in ("train", "held_out", "test")}
    for split in splits.values():
        assert isinstance(split, TextSplit if made.kind == "text" else ImageSplit)
        assert split.labels.dtype == np.int64
        assert 0 <= split.labels.min() <= split.labels.max() < made.num_classes
    assert set(splits["test"].labels) == set(range(made.num_classes))
    training = len(splits["train"]) + len(splits["held_out"])
    assert len(splits["held_out"]) == round(training / 10)
    counts = [Counter(rows(split)) for split in splits.values()]
    if made.kind == "image":  # the tiny texts repeat
        for first, second in combinations(counts, 2):
            assert not first & second
    again = source(name, data)
    assert [Counter(rows(again.load(split))) for split in ("train", "held_out", "test")] == counts


@pytest.mark.parametrize("name", ALL)
def test_samples_become_what_a_network_takes(name: str, data: Path) -> None:
    tiny.write(name, data)
    made = source(name, data)
    spec: InputSpec = TextInput(length=12) if made.kind == "text" else ImageInput()
    encoder = encoder_for(spec)
    split = made.load("test")
    batch = encoder.batch(encoder.pack(split)[:7])
    assert batch.shape == ((7, 12) if made.kind == "text" else (7, 3, 32, 32))
    if made.kind == "image":
        assert -1.0 <= batch.min() < batch.max() <= 1.0
    else:
        assert (batch > 0).sum(1).tolist() == [11] * 7  # ten words and a period


@pytest.mark.parametrize("name", IN_FILES)
def test_a_users_own_folder_in_the_public_layout(name: str, tmp_path: Path) -> None:
    tiny.write(name, tmp_path / "mine")
    folder = ENTRIES[name].folder
    expected = rows(source(name, tmp_path / "mine").load("test"))
    for path in (tmp_path / "mine", tmp_path / "mine" / folder):
        assert rows(source(name, tmp_path / "empty", {name: str(path)}).load("test")) == expected


@pytest.mark.parametrize("name", [name for name in IN_FILES if name not in tiny.TEXTS])
def test_the_same_samples_as_torchvision(name: str, data: Path) -> None:
    tiny.write(name, data)
    made = source(name, data)
    for split in ("train", "test"):
        theirs = _torchvision(name, data, train=split == "train")
        expected = Counter(np.asarray(image).tobytes() + np.int64(label).tobytes() for image, label in theirs)
        ours = Counter(rows(made.load(split)))
        if split == "train":
            ours += Counter(rows(made.load("held_out")))
        assert ours == expected


def _without_checksums(cls: Any) -> Any:
    """Return torchvision's class without the checksums of the published files."""
    changed: dict[str, object] = {}
    if cls is torchvision.datasets.SVHN:
        changed["split_list"] = {key: [*value[:2], None] for key, value in cls.split_list.items()}
    else:
        changed = {key: [[name, None] for name, _ in getattr(cls, key)] for key in ("train_list", "test_list")}
        changed["meta"] = {**cls.meta, "md5": None}
    return type(cls.__name__, (cls,), changed)


def _torchvision(name: str, data: Path, *, train: bool) -> Any:
    if name == "svhn":
        return _without_checksums(torchvision.datasets.SVHN)(data / "SVHN", split="train" if train else "test")
    if name == "emnist":
        return torchvision.datasets.EMNIST(data, split="balanced", train=train)
    classes = {
        "cifar10": _without_checksums(torchvision.datasets.CIFAR10),
        "cifar100": _without_checksums(torchvision.datasets.CIFAR100),
        "mnist": torchvision.datasets.MNIST,
        "fashionmnist": torchvision.datasets.FashionMNIST,
        "kmnist": torchvision.datasets.KMNIST,
    }
    return classes[name](data, train=train)


def test_the_checksums_and_places_are_torchvisions() -> None:
    declared = {(item.file, item.checksum): item.urls for entry in ENTRIES.values() for item in entry.downloads}
    sets = torchvision.datasets
    for cls in (sets.MNIST, sets.FashionMNIST, sets.KMNIST):
        for file, md5 in cls.resources:
            assert declared[file, f"md5:{md5}"] == (cls.mirrors[0] + file,)
    for cls in (sets.CIFAR10, sets.CIFAR100):
        assert declared[cls.filename, f"md5:{cls.tgz_md5}"] == (cls.url,)
    for url, file, md5 in (sets.SVHN.split_list["train"], sets.SVHN.split_list["test"]):
        assert declared[file, f"md5:{md5}"] == (url,)
    assert declared["gzip.zip", f"md5:{sets.EMNIST.md5}"] == (sets.EMNIST.url,)


@pytest.mark.parametrize("name", ALL)
def test_each_can_be_chosen_in_the_configuration(name: str, tmp_path: Path) -> None:
    tiny.write(name, tmp_path / "data")
    settings = compose([f"dataset={name}", f"data.folder={tmp_path / 'data'}", "data.download=false"])
    made: Source = build(settings.dataset)
    assert made.name == name
    assert len(made.load("test"))


SAVED = Path(__file__).parent / "saved_by_datasets"  # written by DatasetDict.save_to_disk() of datasets 5.2.0


def rewrite_as_saved_to_disk(folder: Path, target: Path) -> None:
    """Write the rows of the parquet files like ``save_to_disk()``, with the metadata of `SAVED`."""
    from pyarrow import ipc, parquet

    for path in folder.glob("*/*.parquet"):
        split = target / "saved" / path.name.partition("-")[0]
        split.mkdir(parents=True)
        for name in ("dataset_info.json", "state.json"):
            shutil.copy2(SAVED / "train" / name, split)
        shutil.copy2(SAVED / "dataset_dict.json", target / "saved")
        rows = parquet.read_table(path)
        with ipc.new_stream(split / "data-00000-of-00001.arrow", rows.schema) as stream:
            stream.write_table(rows, max_chunksize=7)


def test_a_folder_that_datasets_itself_has_saved() -> None:
    for made in (source("imdb", SAVED / "nothing", {"imdb": str(SAVED)}), UserFiles("custom", str(SAVED))):
        assert (made.kind, made.num_classes) == ("text", 2)
        train, test = made.load("train"), made.load("test")
        assert isinstance(test, TextSplit)
        assert test.texts == ("a dull film, 0", "a fine film, 0", "a dull film, 1", "a fine film, 1")
        assert test.labels.tolist() == [0, 1, 0, 1]
        assert len(train) + len(made.load("held_out")) == 12


@pytest.mark.parametrize("name", tiny.TEXTS)
def test_texts_that_datasets_saved_or_cached(name: str, tmp_path: Path) -> None:
    tiny.write(name, tmp_path / "data")
    rewrite_as_saved_to_disk(tmp_path / "data" / name, tmp_path)
    expected = rows(source(name, tmp_path / "data").load("test"))
    assert rows(source(name, tmp_path, {name: str(tmp_path / "saved")}).load("test")) == expected
    # The cache has the same Arrow files under other names, in the user's home.
    repository = next(pattern for pattern in ENTRIES[name].elsewhere if "/datasets/" in pattern)
    cached = Path(repository.replace("*", "x")).expanduser()
    cached.mkdir(parents=True)
    for split in ("train", *ENTRIES[name].splits.values()):
        (file,) = (tmp_path / "saved" / split).glob("*.arrow")
        (cached / f"{name}-{split}.arrow").write_bytes(file.read_bytes())
    assert rows(source(name, tmp_path / "nothing").load("test")) == expected
