"""From the chain's names to data sets that this machine can read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from decloud_pl.build import build
from decloud_pl.chain.dialects import get_dialect
from decloud_pl.data.catalog import Catalog, Choice, entry, names
from decloud_pl.data.entry import DataFolder
from decloud_pl.errors import ConfigError, DatasetError, DatasetNotFound, DatasetNotSupported
from tests.data import tiny
from tests.data.user_folders import write_table

COMPLETE = "entry: {name: bad, kind: text, num_classes: 2, licence: mine, size: small"
CHAIN_NAMES = get_dialect().datasets


@pytest.fixture
def data(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path / "data")


def choose(name: str, data: DataFolder, mappings: dict[str, str] | None = None, **paths: Path | str) -> Choice:
    return Catalog(data, mappings or {}, {key: str(value) for key, value in paths.items()}).resolve(name)


def test_a_name_of_its_own_and_a_mapped_one(data: DataFolder) -> None:
    assert choose("digits", data).ready
    assert choose("custom", data, {"custom": "digits"}).name == "digits"
    tiny.write("cifar10", data.folder)
    assert choose("custom", data, {"custom": "cifar10"}) == choose("cifar10", data)


@pytest.mark.parametrize("name", [name for name in CHAIN_NAMES if name not in names()])
def test_every_other_name_of_the_chain_can_be_mapped_or_pathed(name: str, data: DataFolder, tmp_path: Path) -> None:
    said = rf"{name} is not supported.*--add-mapping {name}:NAME.*paths\.{name}"
    with pytest.raises(DatasetNotSupported, match=said):
        choose(name, data)
    assert choose(name, data, {name: "digits"}).name == "digits"
    images, labels = tiny.images(30, 3, 8, 1, 0)
    np.savez(tmp_path / "mine.npz", images=images, labels=labels)
    choice = Catalog(data, paths={name: str(tmp_path / "mine.npz")}).resolve(name)
    assert choice.name == name
    source = build(choice.node(data))
    assert (source.name, source.num_classes, len(source.load("test"))) == (name, 3, 6)


def test_there_are_99(data: DataFolder) -> None:
    assert len(set(CHAIN_NAMES)) == 99
    assert set(names()) - set(CHAIN_NAMES) == {"digits"}


def test_a_mapping_to_nothing_is_named(data: DataFolder) -> None:
    with pytest.raises(DatasetNotSupported, match=r"mapped to digitz, which is not supported\. Did you mean digits\?"):
        choose("custom", data, {"custom": "digitz"})
    with pytest.raises(DatasetNotSupported, match=r"mapped to squad, which is not supported\. Map it"):
        choose("custom", data, {"custom": "squad"})


def test_a_path_for_a_mapped_name_and_for_a_name_of_ones_own(data: DataFolder, tmp_path: Path) -> None:
    tiny.write("mnist", tmp_path / "mine")
    assert choose("custom", data, {"custom": "mnist"}, mnist=tmp_path / "mine").root == str(tmp_path / "mine")
    # A path for the round's own name takes precedence.
    (tmp_path / "reviews.csv").write_text("text,label\na,0\nb,1\n")
    choice = choose("custom", data, {"custom": "digits"}, custom=tmp_path / "reviews.csv")
    assert choice.name == "custom"


def test_files_that_are_nowhere_are_downloaded_if_they_may(data: DataFolder) -> None:
    choice = choose("cifar10", data)
    assert not choice.ready
    with pytest.raises(DatasetNotFound, match=r"not on this machine.*paths\.cifar10.*data\.download=true"):
        choose("cifar10", DataFolder(data.folder, download=False))
    assert choice.node(data)["data"] == {"folder": str(data.folder), "mirror": "", "download": True}


def test_paths_that_hold_something_else(data: DataFolder, tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFound, match=r"The path of the data set mnist does not exist: .*gone.*paths\.mnist"):
        choose("mnist", data, mnist=tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"has no supported data set\. Set paths\.mnist to class folders"):
        choose("mnist", data, mnist=tmp_path / "empty")
    tiny.write("imdb", tmp_path / "texts")
    with pytest.raises(DatasetError, match="has text samples, but the data set mnist needs image samples"):
        choose("mnist", data, mnist=tmp_path / "texts")


@pytest.mark.parametrize(
    ("names", "query", "is_published"),
    [
        (("text", "label"), "", True),
        (("text", "label"), "?text=text", False),
        (("review", "sentiment"), "", False),
        (("review", "sentiment"), "?text=review&label=sentiment", False),
        (("body", "stars"), "?text=body&label=stars", False),
    ],
)
def test_a_folder_with_two_tables(
    data: DataFolder, tmp_path: Path, names: tuple[str, str], query: str, is_published: bool
) -> None:
    write_table(tmp_path / "mine" / "train.csv", ["good", "bad"] * 5, [1, 0] * 5, names)
    write_table(tmp_path / "mine" / "test.csv", ["bad"] * 3, [0] * 3, names)
    choice = choose("imdb", data, imdb=f"{tmp_path / 'mine'}{query}")
    assert (choice.ready, choice.is_published) == (True, is_published)
    test = build(choice.node(data)).load("test")
    assert (test.texts, test.labels.tolist()) == (("bad",) * 3, [0] * 3)


def test_the_published_tables_keep_their_splits(data: DataFolder, tmp_path: Path) -> None:
    """The published test part of SST-2 has no labels, so its test split is the published validation part."""
    tiny.write("sst2", tmp_path / "mine")
    for path in (tmp_path / "mine", tmp_path / "mine" / "sst2"):
        choice = choose("sst2", data, sst2=path)
        assert choice.is_published
        assert len(build(choice.node(data)).load("test")) == 20


@pytest.mark.parametrize("where", ["reviews.csv", "train.csv", "data/train.parquet"])
def test_tables_without_known_columns_are_refused_at_once(data: DataFolder, tmp_path: Path, where: str) -> None:
    write_table(tmp_path / "mine" / where, ["good", "bad"] * 5, [1, 0] * 5, ("body", "stars"))
    write_table((tmp_path / "mine" / where).with_stem("test"), ["bad"] * 3, [0] * 3, ("body", "stars"))
    said = r"has no text column; it has body, stars.*\. Append the column's name to the path: PATH\?text=COLUMN"
    for name in ("imdb", "yelpreviews"):
        mine, wrong, right = (
            Catalog(data, paths={name: f"{tmp_path / 'mine'}{query}"})
            for query in ("", "?text=body&label=mark", "?text=body&label=stars")
        )
        with pytest.raises(DatasetError, match=said):
            mine.resolve(name)
        with pytest.raises(DatasetError, match="has no label column mark; it has body, stars"):
            wrong.resolve(name)
        assert right.resolve(name).ready
    with pytest.raises(DatasetError, match="has text samples, but the data set mnist needs image samples"):
        choose("mnist", data, mnist=tmp_path / "mine")


def test_a_test_part_may_lack_labels(data: DataFolder, tmp_path: Path) -> None:
    """A training in a round does not read the test part."""
    write_table(tmp_path / "mine" / "train.csv", ["good", "bad"] * 5, [1, 0] * 5, ("text", "label"))
    write_table(tmp_path / "mine" / "test.csv", ["bad"], [7], ("text", "id"))
    choice = choose("imdb", data, imdb=tmp_path / "mine")
    assert choice.ready
    assert len(build(choice.node(data)).load("train")) == 9


def test_a_query_for_published_files_that_need_none(data: DataFolder, tmp_path: Path) -> None:
    tiny.write("mnist", tmp_path / "mine")
    said = r"has the published files of the data set mnist, so \?first_label=0 does not apply\. Set paths\.mnist=/"
    with pytest.raises(DatasetError, match=said):
        choose("mnist", data, mnist=f"{tmp_path / 'mine'}?first_label=0")


def test_a_new_data_set_is_one_file(tmp_path: Path, data: DataFolder) -> None:
    node = {
        "_target_": "decloud_pl.data.formats.idx.IdxImages",
        "root": None,
        "entry": {
            "name": "mine",
            "kind": "image",
            "num_classes": 10,
            "licence": "mine",
            "size": "small",
            "folder": "MNIST/raw",
            "files": ["train-images-idx3-ubyte", "t10k-images-idx3-ubyte"],
        },
    }
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "mine.yaml").write_text(yaml.safe_dump(node))
    tiny.write("mnist", data.folder)
    assert names(tmp_path) == ["mine"]
    choice = Catalog(data, {"custom": "mine"}, directory=tmp_path).resolve("custom")
    assert len(build(choice.node(data)).load("test")) == 20


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", " does not declare a data set"),
        ("entry: [a\nb: c", ": line 2 is not valid YAML"),
        ("_target_: x", ": entry.name must be 'bad'"),
        ("entry: {name: other}", ": entry.name must be 'bad'"),
        ("entry: {name: bad, kind: audio}", ": .*entry.kind must be 'image' or 'text'"),
        ("entry: {name: bad, kind: text}", ": the key 'num_classes' is missing"),
        ("entry: {name: bad, kind: text, num_classes: x}", r": entry.num_classes must be a whole number \(got 'x'\)"),
        (f"{COMPLETE}, files: a}}", r": entry.files must be a list of texts \(got 'a'\)"),
        (f"{COMPLETE}, elsewhere: ~/a}}", r": entry.elsewhere must be a list of texts \(got '~/a'\)"),
        (
            f"{COMPLETE}, downloads: [{{file: a, urls: 'https://a.example'}}]}}",
            r": entry.downloads.urls must be a list of texts \(got 'https://a\.example'\)",
        ),
        (f"{COMPLETE}, downloads: [{{file: a, urls: [], checksum: {'a' * 64}}}]}}", ": entry.downloads.checksum must"),
        (f"{COMPLETE}, downloads: [{{file: a, urls: [], checksum: 'md5:x'}}]}}", ": entry.downloads.checksum must be"),
    ],
)
def test_a_file_that_is_no_declaration(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=rf"/dataset/bad\.yaml{reason}"):
        entry("bad", tmp_path)
    with pytest.raises(DatasetNotSupported):
        entry("../bad", tmp_path)
