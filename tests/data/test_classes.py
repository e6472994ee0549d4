"""The class of a name or number in a user's files, and names and numbers that are not classes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from decloud_pl.data.catalog import Catalog
from decloud_pl.data.entry import DataFolder
from decloud_pl.data.formats import tables
from decloud_pl.data.formats.image_files import ImageFiles
from decloud_pl.data.formats.text import TextTables
from decloud_pl.data.inventory import inventory
from decloud_pl.data.source import ImageSplit, SplitName
from decloud_pl.data.user_files import UserFiles
from decloud_pl.errors import DatasetError
from tests.data import tiny
from tests.data.user_folders import sizes, write_classes, write_table


def labels_by_value(source: UserFiles, split: SplitName = "train") -> dict[int, set[int]]:
    """Return the labels of the images with this value."""
    part = source.load(split)
    assert isinstance(part, ImageSplit)
    assert isinstance(part.images, ImageFiles)
    found: dict[int, set[int]] = {}
    for pixels, label in zip(part.images.read(1), part.labels.tolist(), strict=True):
        found.setdefault(int(pixels[0, 0, 0]), set()).add(label)
    return dict(sorted(found.items()))


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("form", ["{}", "{:02}"])
def test_class_folders_that_are_numbers_are_the_labels(tmp_path: Path, split: SplitName, form: str) -> None:
    write_classes(tmp_path, *(form.format(number) for number in range(12)))
    source = UserFiles("custom", str(tmp_path), 12)
    assert labels_by_value(source, split) == {number: {number} for number in range(12)}
    assert UserFiles("custom", str(tmp_path)).num_classes == 12


def test_a_number_that_is_missing_moves_no_label(tmp_path: Path) -> None:
    write_classes(tmp_path, "0", "1", "3", "10")
    assert labels_by_value(UserFiles("custom", str(tmp_path), 11)) == {0: {0}, 1: {1}, 2: {3}, 3: {10}}


def test_the_parts_share_their_numbers(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", "0", "2", "10")
    write_classes(tmp_path / "test", "0", "1", "11")
    source = UserFiles("custom", str(tmp_path))
    assert source.num_classes == 12
    assert labels_by_value(source, "test") == {0: {0}, 1: {1}, 2: {11}}


def test_class_folders_from_one_need_a_word_of_the_user(tmp_path: Path) -> None:
    write_classes(tmp_path, *map(str, range(1, 11)))
    with pytest.raises(DatasetError, match=r"numbers from 1 to 10.*Append \?first_label=1 to .*\?first_label=0"):
        UserFiles("custom", str(tmp_path), 10)
    assert labels_by_value(UserFiles("custom", f"{tmp_path}?first_label=1", 10)) == {n: {n} for n in range(10)}
    as_named = UserFiles("custom", f"{tmp_path}?first_label=0")
    assert (as_named.num_classes, labels_by_value(as_named)[0]) == (11, {1})
    with pytest.raises(DatasetError, match=r"has a class folder 1, but \?first_label=2 says"):
        UserFiles("custom", f"{tmp_path}?first_label=2", 10)
    with pytest.raises(DatasetError, match=r"\?first_label=one is not a whole number"):
        UserFiles("custom", f"{tmp_path}?first_label=one", 10)
    write_classes(tmp_path / "words", "cat", "dog")
    with pytest.raises(DatasetError, match="are not numbers"):
        UserFiles("custom", f"{tmp_path / 'words'}?first_label=1")


def test_arrays_and_tables_from_one_need_a_word_of_the_user(tmp_path: Path) -> None:
    images, labels = tiny.images(30, 3, 8, 1, 0)
    np.savez(tmp_path / "a.npz", images=images, labels=labels + 1)
    write_table(tmp_path / "a.csv", [f"text {label}" for label in labels], list(labels + 1), ("text", "label"))
    for file in ("a.npz", "a.csv"):
        path = str(tmp_path / file)
        with pytest.raises(DatasetError, match=r"numbers from 1 to 3.*Append \?first_label=1 to"):
            UserFiles("custom", path).load("train")
        source = UserFiles("custom", f"{path}?first_label=1")
        assert source.num_classes == 3
        assert set(source.load("train").labels.tolist()) == {0, 1, 2}
        assert UserFiles("custom", f"{path}?first_label=0").num_classes == 4
    write_table(tmp_path / "b.csv", list("abcdef"), ["good", "bad"] * 3, ("text", "label"))
    with pytest.raises(DatasetError, match="are words"):
        UserFiles("custom", f"{tmp_path / 'b.csv'}?first_label=1", 2).load("train")


def test_the_labels_of_names_are_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    write_classes(tmp_path / "images", "class1", "class10", "class2")
    write_table(tmp_path / "a.csv", list("abcdef"), ["good", "bad"] * 3, ("text", "label"))
    UserFiles("custom", str(tmp_path / "images")).load("train")
    assert "The labels of custom: 0 = class1, 1 = class10, 2 = class2" in caplog.text
    UserFiles("custom", str(tmp_path / "a.csv")).load("train")
    assert "The labels of custom: 0 = bad, 1 = good" in caplog.text
    data = DataFolder(tmp_path / "data")
    items = inventory(Catalog(data, paths={"mine": str(tmp_path / "images"), "texts": str(tmp_path / "a.csv")}))
    classes = {item.name: item.classes for item in items}
    assert (classes["mine"], classes["texts"]) == ({"class1": 0, "class10": 1, "class2": 2}, {})


@pytest.mark.parametrize("inside", ["mine", "a/b", "mine/train"])
def test_a_lone_wrapper_folder_is_no_class(tmp_path: Path, inside: str) -> None:
    write_classes(tmp_path / inside, "0", "1", "2")
    (tmp_path / "README.md").touch()
    assert labels_by_value(UserFiles("custom", str(tmp_path), 3)) == {0: {0}, 1: {1}, 2: {2}}


def test_wrapper_folders_of_parts_and_of_arrays(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write_classes(tmp_path / "images" / "set" / part / "files", "cat", "dog")
    assert sizes(UserFiles("custom", str(tmp_path / "images"), 2)) == {"train": 9, "held_out": 1, "test": 10}
    images, labels = tiny.images(50, 5, 8, 1, 0)
    for name, array in (("images", images), ("labels", labels)):
        (tmp_path / "arrays" / "a" / "b").mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "arrays" / "a" / "b" / f"{name}.npy", array)
    assert UserFiles("custom", str(tmp_path / "arrays")).num_classes == 5


@pytest.mark.parametrize("declared", [None, 1, 10])
def test_one_class_is_none(tmp_path: Path, declared: int | None) -> None:
    write_classes(tmp_path / "images", "cats")
    with pytest.raises(DatasetError, match=r"has only one class, 'cats'.*the folder that contains the class folders"):
        UserFiles("custom", str(tmp_path / "images"), declared)
    np.savez(tmp_path / "a.npz", images=np.zeros((9, 8, 8), np.uint8), labels=np.zeros(9, np.int64))
    write_table(tmp_path / "a.csv", list("abcdef"), [0] * 6, ("text", "label"))
    write_table(tmp_path / "b.csv", list("abcdef"), ["good"] * 6, ("text", "label"))
    for file, label in (("a.npz", "0"), ("a.csv", "0"), ("b.csv", "good")):
        for split in ("train", "held_out"):
            with pytest.raises(DatasetError, match=f"has only one class, '{label}'"):
                UserFiles("custom", str(tmp_path / file), declared).load(split)


def test_other_classes_than_declared(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_classes(tmp_path / "names", *"abcd")
    for declared in (3, 10):
        with pytest.raises(DatasetError, match=f"has {declared} classes, .* has 4: 0 = a, 1 = b, .*to its number"):
            UserFiles("custom", str(tmp_path / "names"), declared)
    with pytest.raises(DatasetError, match=r"cifar10 has 10 classes, .* has 4: .*paths\.cifar10"):
        Catalog(DataFolder(tmp_path), paths={"cifar10": str(tmp_path / "names")}).resolve("cifar10")
    write_table(tmp_path / "a.csv", list("abcdef"), ["good", "bad"] * 3, ("text", "label"))
    with pytest.raises(DatasetError, match=r"agnews has 4 classes, .* has 2: 0 = bad, 1 = good"):
        UserFiles("agnews", str(tmp_path / "a.csv"), 4).load("train")
    for part in ("train", "test"):
        write_table(tmp_path / "published" / f"{part}.csv", list("abcdef"), ["good", "bad"] * 3, ("text", "label"))
    with pytest.raises(DatasetError, match=r"agnews has 4 classes, .* has 2: 0 = bad, 1 = good"):
        TextTables("agnews", root=str(tmp_path / "published")).load("train")
    write_classes(tmp_path / "numbers", "0", "1", "4")
    with pytest.raises(DatasetError, match=r"has 4 classes, .* has the label 4"):
        UserFiles("custom", str(tmp_path / "numbers"), 4)
    assert not caplog.records
    UserFiles("custom", str(tmp_path / "numbers"), 5).load("train")
    assert "The data set custom has 5 classes, but" in caplog.text
    assert "has samples of only 3. These labels have no samples: 2, 3" in caplog.text


@pytest.mark.parametrize("hidden", [".ipynb_checkpoints", "__MACOSX", ".hidden"])
def test_what_systems_and_editors_leave_is_no_data(tmp_path: Path, hidden: str) -> None:
    folder = tmp_path / "images"
    write_classes(folder, "cat", "dog", count=10)
    for where in (folder, folder / "cat"):
        write_classes(where, hidden, f"{hidden}/cat")
        (where / "._0.png").write_bytes(b"resource fork")
    assert sizes(UserFiles("custom", str(folder), 2)) == {"train": 14, "held_out": 2, "test": 4}
    shutil.move(folder, tmp_path / "zip" / "images")
    write_classes(tmp_path / "zip" / hidden, "cat", "dog")
    assert sizes(UserFiles("custom", str(tmp_path / "zip"), 2)) == {"train": 14, "held_out": 2, "test": 4}

    images, labels = tiny.images(20, 2, 8, 1, 0)
    for form in ("npy", "npz"):
        arrays = tmp_path / form
        (arrays / "inside" / hidden).mkdir(parents=True)
        if form == "npz":
            np.savez(arrays / "inside" / "a.npz", images=images, labels=labels)
            (arrays / "inside" / "._a.npz").write_bytes(b"resource fork")
        else:
            np.save(arrays / "inside" / "images.npy", images)
            np.save(arrays / "inside" / "labels.npy", labels)
            (arrays / "inside" / "._images.npy").write_bytes(b"resource fork")
        (arrays / hidden).mkdir()
        assert sum(sizes(UserFiles("custom", str(arrays), 2)).values()) == 20

    for name in ("train.csv", f"{hidden}/train.csv", "._train.csv", "test.csv", f"{hidden}/test-checkpoint.csv"):
        write_table(tmp_path / "texts" / name, *tiny.texts(20, 2, 0), ("text", "label"))
    assert sizes(UserFiles("custom", str(tmp_path / "texts"), 2)) == {"train": 18, "held_out": 2, "test": 20}


def test_a_path_below_a_hidden_folder_is_data(tmp_path: Path) -> None:
    write_classes(tmp_path / ".home" / "mine", "cat", "dog")
    assert UserFiles("custom", str(tmp_path / ".home" / "mine"), 2).num_classes == 2


def test_labels_that_differ_by_spaces_are_one(tmp_path: Path) -> None:
    write_classes(tmp_path / "images", "cat", "cat ", " dog", "dog", "great  dane")
    source = UserFiles("custom", str(tmp_path / "images"), 3)
    assert labels_by_value(source) == {0: {0}, 1: {0}, 2: {1}, 3: {1}, 4: {2}}
    write_classes(tmp_path / "numbers", "0 ", "0", " 1")
    assert labels_by_value(UserFiles("custom", str(tmp_path / "numbers"), 2)) == {0: {0}, 1: {0}, 2: {1}}
    for suffix in ("csv", "tsv", "jsonl", "parquet"):
        path = tmp_path / f"a.{suffix}"
        write_table(path, list("abcd"), ["good", " good", "bad", "bad "], ("text", "label"))
        assert tables.read([path], tables.Columns()).labels == ["good", "good", "bad", "bad"]
        write_table(path, list("abcd"), ["1", " 1", "0", "0 "], ("text", "label"))
        assert tables.read([path], tables.Columns()).labels == [1, 1, 0, 0]
        write_table(path, list("ab"), ["good", "  "], ("text", "label"))
        with pytest.raises(DatasetError, match="has a row without a label"):
            tables.read([path], tables.Columns())
