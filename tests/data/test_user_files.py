"""Users' files in any supported form (class folders, arrays, tables), and clear errors for everything else."""

from __future__ import annotations

import csv
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from decloud_pl.data.formats import tables
from decloud_pl.data.formats.text import TextTables
from decloud_pl.data.source import ImageSplit, TextSplit
from decloud_pl.data.user_files import UserFiles
from decloud_pl.errors import DatasetError, DatasetNotFound
from decloud_pl.models.inputs import ImageInput
from decloud_pl.train.fit.encoding import encoder_for
from tests.data import tiny
from tests.data.user_folders import sizes, write_table


def write_image_folder(folder: Path, count: int, classes: int, seed: int = 0) -> None:
    pixels, labels = tiny.images(count, classes, 20, 3, seed)
    for index, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        target = folder / f"class{label}"
        target.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(target / f"{index}.{('png', 'jpg')[index % 2]}")


@pytest.mark.parametrize("test", ["test", "val", "validation"])
def test_an_image_folder_with_two_parts(tmp_path: Path, test: str) -> None:
    write_image_folder(tmp_path / "train", 30, 3)
    write_image_folder(tmp_path / test, 9, 3, seed=1)
    (tmp_path / "train" / "class0" / "notes.txt").touch()
    source = UserFiles("food101", str(tmp_path))
    assert (source.kind, source.num_classes) == ("image", 3)
    assert sizes(source) == {"train": 27, "held_out": 3, "test": 9}
    split = source.load("test")
    assert np.bincount(split.labels).tolist() == [3, 3, 3]
    assert encoder_for(ImageInput()).pack(split).shape == (9, 3, 32, 32)


def test_an_image_folder_of_one_part_is_divided(tmp_path: Path) -> None:
    write_image_folder(tmp_path, 40, 4)
    source = UserFiles("food101", str(tmp_path))
    assert sizes(source) == {"train": 29, "held_out": 3, "test": 8}
    files = {
        path
        for name in ("train", "held_out", "test")
        for path in source.load(name).images.paths  # type: ignore
    }
    assert len(files) == 40


def test_what_is_wrong_with_an_image_folder(tmp_path: Path) -> None:
    write_image_folder(tmp_path / "train", 10, 2)
    write_image_folder(tmp_path / "test", 3, 3)
    with pytest.raises(DatasetError, match="class2 has test images of the class"):
        UserFiles("food101", str(tmp_path)).load("test")
    for path in (tmp_path / "train").glob("*/*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"\.png is damaged, or is not a supported image"):
        encoder_for(ImageInput()).pack(UserFiles("food101", str(tmp_path)).load("train"))
    with pytest.raises(DatasetError, match=r"food101 has 1 classes, .* has 2: 0 = class0, 1 = .*mappings\.food101"):
        UserFiles("food101", str(tmp_path), num_classes=1)


NAMES = [
    ("x_train", "y_train", "x_test", "y_test"),
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("X_train", "Y_train", "X_val", "Y_val"),
]


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("form", ["npz", "npy", "folder-of-npz"])
@pytest.mark.parametrize(
    ("shape", "convert"),
    [
        ((8, 8, 3), lambda pixels: pixels),
        ((8, 8), lambda pixels: pixels[..., 0]),
        ((8, 8), lambda pixels: pixels[..., :1]),
        ((8, 8, 3), lambda pixels: pixels.transpose(0, 3, 1, 2)),
        ((8, 8, 3), lambda pixels: pixels.astype(np.float32) / 255),
        ((8, 8, 3), lambda pixels: pixels.astype(np.int64)),
    ],
    ids=["as-is", "grey", "one-channel", "channels-first", "floats", "int64"],
)
def test_arrays(
    tmp_path: Path, names: tuple[str, ...], form: str, shape: tuple[int, ...], convert: Callable[..., tiny.Bytes]
) -> None:
    train, train_labels = tiny.images(30, 3, 8, 3, 0)
    test, test_labels = tiny.images(9, 3, 8, 3, 1)
    arrays: dict[str, NDArray[Any]] = dict(
        zip(names, (convert(train), train_labels[:, None], convert(test), test_labels), strict=True)
    )
    path = tmp_path / "arrays.npz"
    if form == "npy":
        path = tmp_path
        for name, array in arrays.items():
            np.save(tmp_path / f"{name}.npy", array)
    else:
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
        path = tmp_path if form == "folder-of-npz" else path
    source = UserFiles("custom", str(path))
    assert (source.kind, source.num_classes) == ("image", 3)
    assert sizes(source) == {"train": 27, "held_out": 3, "test": 9}
    split = source.load("test")
    assert isinstance(split, ImageSplit)
    assert isinstance(split.images, np.ndarray)
    assert split.images.shape == (9, *shape)
    assert np.array_equal(split.images.reshape(9, 64, -1), test.reshape(9, 64, 3)[..., : 3 if len(shape) > 2 else 1])
    assert split.labels.tolist() == test_labels.tolist()


@pytest.mark.parametrize(("without", "test"), [("y_test", "val"), ("x_test", "val"), ("y_val", "test"), ("", "test")])
def test_images_and_labels_of_the_test_split_are_of_one_part(tmp_path: Path, without: str, test: str) -> None:
    for seed, (part, count) in enumerate((("train", 30), ("test", 9), ("val", 9))):
        images, labels = tiny.images(count, 3, 8, 3, seed)
        np.save(tmp_path / f"x_{part}.npy", images)
        np.save(tmp_path / f"y_{part}.npy", labels)
    if without:
        (tmp_path / f"{without}.npy").unlink()
    split = UserFiles("custom", str(tmp_path)).load("test")
    assert isinstance(split, ImageSplit)
    assert isinstance(split.images, np.ndarray)
    assert np.array_equal(split.images, np.load(tmp_path / f"x_{test}.npy"))
    assert np.array_equal(split.labels, np.load(tmp_path / f"y_{test}.npy"))


def test_arrays_of_one_part_are_divided(tmp_path: Path) -> None:
    images, labels = tiny.images(50, 5, 8, 1, 0)
    np.savez(tmp_path / "all.npz", images=images, labels=labels)
    assert sizes(UserFiles("custom", str(tmp_path / "all.npz"))) == {"train": 36, "held_out": 4, "test": 10}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"images": np.zeros((4, 8))}, "has the shape"),
        ({"images": np.zeros((4, 8, 8, 4))}, "has the shape"),
        ({"images": np.full((4, 8, 8), 300)}, "not pixels"),
        ({"images": np.full((4, 8, 8), np.nan)}, "not pixels"),
        ({"images": np.array(["a"] * 4 * 64).reshape(4, 8, 8)}, "not a NumPy array of numbers|not pixels"),
        ({"labels": np.zeros(4)}, "as whole numbers"),
        ({"labels": np.zeros((4, 10), np.int64)}, "as whole numbers"),
        ({"labels": np.zeros(3, np.int64)}, "4 images but 3 labels"),
        ({"labels": np.array([-1, 0, 0, 0])}, "the label -1, outside"),
        ({"images": np.array([{}, {}, {}, {}], dtype=object)}, "not a NumPy array of numbers"),
    ],
)
def test_arrays_that_are_no_images(tmp_path: Path, change: dict[str, object], sentence: str) -> None:
    arrays = {"images": np.zeros((4, 8, 8), np.uint8), "labels": np.zeros(4, np.int64), **change}
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match=sentence):
        UserFiles("custom", str(tmp_path / "a.npz")).load("train")


def test_arrays_never_run_code(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "marker",)

    (tmp_path / "images.npy").write_bytes(pickle.dumps(Payload()))
    np.save(tmp_path / "labels.npy", np.zeros(4, np.int64))
    with pytest.raises(DatasetError, match="not a NumPy array"):
        UserFiles("custom", str(tmp_path)).load("train")
    assert not (tmp_path / "marker").exists()


def npy(shape: str, *, descr: str = "'|u1'", rest: bytes = b"abc") -> bytes:
    """Return a .npy file with any header."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + rest


@pytest.mark.parametrize(
    "content",
    [
        npy("(2**40, 32, 32)".replace("2**40", str(2**40))),
        npy("(999999999999999999999, 8, 8)"),
        npy("(" * 60),
        npy("(4, 8, 8)", descr="'O'"),
        npy("(4, 8, 8)", descr="5"),
        b"\x93NUMPY\x01\x00\x04\x00{{{\n",
        b"",
    ],
    ids=["huge", "overflow", "nested", "objects", "no-type", "garbage", "empty"],
)
@pytest.mark.parametrize("form", ["npy", "npz"])
def test_arrays_whose_header_lies(tmp_path: Path, content: bytes, form: str) -> None:
    np.save(tmp_path / "labels.npy", np.zeros(4, np.int64))
    (tmp_path / "images.npy").write_bytes(content)
    path = tmp_path
    if form == "npz":
        path = tmp_path / "a.npz"
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("images.npy", "labels.npy"):
                archive.write(tmp_path / name, name)
    with pytest.raises(DatasetError, match="is damaged, or is not a NumPy array of numbers"):
        UserFiles("custom", str(path)).load("train")


def test_a_pipe_where_an_array_should_be(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "images.npy")
    np.save(tmp_path / "labels.npy", np.zeros(4, np.int64))
    with pytest.raises(DatasetError, match="not a NumPy array"):
        UserFiles("custom", str(tmp_path)).load("train")


@pytest.mark.parametrize("count", [1, 2, 4])
def test_too_few_samples_for_three_parts(tmp_path: Path, count: int) -> None:
    images, labels = tiny.images(count, 2, 8, 1, 0)
    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    for split in ("train", "held_out", "test"):
        with pytest.raises(DatasetError, match=rf"too few samples \({count}\) for a test split"):
            UserFiles("custom", str(tmp_path / "a.npz")).load(split)
    np.savez(tmp_path / "a.npz", x_train=images[:1], y_train=labels[:1], x_test=images, y_test=labels)
    with pytest.raises(DatasetError, match=r"too few training samples \(1\)\. Add samples until there are at least 2,"):
        UserFiles("custom", str(tmp_path / "a.npz"), num_classes=2).load("train")


def test_a_path_that_cannot_even_be_looked_at(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFound, match=r"the path of the data set custom.*Correct paths\.custom"):
        UserFiles("custom", f"{tmp_path}/{'x' * 300}")


def test_a_damaged_npz(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(DatasetError, match=r"is damaged, or is not an \.npz file"):
        UserFiles("custom", str(tmp_path / "a.npz"))


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".tsv", ".jsonl"])
@pytest.mark.parametrize("as_words", [False, True])
def test_tables(tmp_path: Path, suffix: str, as_words: bool) -> None:
    for seed, (word, count) in enumerate((("train", 20), ("test", 8))):
        texts, labels = tiny.texts(count, 4, seed)
        texts[0] = "None, null, N/A"  # these are ordinary words here
        given = [f"topic{3 - label}" for label in labels] if as_words else labels
        write_table(tmp_path / f"{word}{suffix}", texts, given, ("sentence", "category"))
    source = UserFiles("yelpreviews", str(tmp_path))
    assert (source.kind, source.num_classes) == ("text", 4)
    assert sizes(source) == {"train": 18, "held_out": 2, "test": 8}
    split = source.load("test")
    assert isinstance(split, TextSplit)
    assert split.texts[0] == "None, null, N/A"
    assert split.labels.tolist() == [3 - label if as_words else label for label in labels]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train_test_split/train.csv", "train_test_split/test.csv"),
        ("train_test_split/train/part.csv", "train_test_split/test/part.csv"),
        ("train/train.csv", "train/dev.csv"),
        ("train_val.csv", "test.csv"),
    ],
)
def test_a_table_belongs_to_the_split_that_its_name_or_its_nearest_folder_says(
    tmp_path: Path, train: str, test: str
) -> None:
    for name, count in ((train, 20), (test, 8)):
        write_table(tmp_path / name, *tiny.texts(count, 4, count), ("text", "label"))
    assert sizes(UserFiles("yelpreviews", str(tmp_path))) == {"train": 18, "held_out": 2, "test": 8}


@pytest.mark.parametrize("name", ["train_test.csv", "train-test/part.csv"])
def test_a_table_of_two_splits_is_refused(tmp_path: Path, name: str) -> None:
    write_table(tmp_path / name, *tiny.texts(20, 4, 0), ("text", "label"))
    with pytest.raises(
        DatasetError, match=r"\.csv would belong to the training data and to the test data\. Keep only one"
    ):
        UserFiles("yelpreviews", str(tmp_path))
    assert len(UserFiles("yelpreviews", str(tmp_path / name)).load("train")) == 14


def test_columns_by_name_and_a_single_table(tmp_path: Path) -> None:
    texts, labels = tiny.texts(30, 3, 0)
    path = tmp_path / "reviews.csv"
    write_table(path, texts, labels, ("body", "stars"))
    with pytest.raises(DatasetError, match=r"has no text column; it has body, stars\. .*PATH\?text=COLUMN"):
        UserFiles("yelpreviews", str(path)).load("train")
    with pytest.raises(DatasetError, match="has no label column mark; it has body, stars"):
        UserFiles("yelpreviews", f"{path}?text=body&label=mark").load("train")
    assert sizes(UserFiles("yelpreviews", f"{path}?text=body&label=stars")) == {"train": 22, "held_out": 2, "test": 6}


def test_tables_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DatasetError, match=r"a\.parquet cannot be read as a table"):
        UserFiles("imdb", str(tmp_path / "a.parquet")).load("train")
    (tmp_path / "b.csv").write_text("text,label\na,0\nb,\n")
    with pytest.raises(DatasetError, match=r"b\.csv has a row without a label"):
        UserFiles("imdb", str(tmp_path / "b.csv"), num_classes=2).load("train")
    (tmp_path / "b.jsonl").write_text('{"text": "a", "label": 1}\n{"text": "b", "label": "good"}\n')
    with pytest.raises(DatasetError, match=r"b\.jsonl mixes labels that are numbers with labels that are words"):
        UserFiles("imdb", str(tmp_path / "b.jsonl"), num_classes=2).load("train")
    (tmp_path / "b.csv").write_text("text,label\na,0.5\nb,1\n")
    with pytest.raises(DatasetError, match="not a whole number"):
        UserFiles("imdb", str(tmp_path / "b.csv"), num_classes=2).load("train")
    (tmp_path / "b.csv").write_text("text,label\na,1e300\nb,1\n")
    with pytest.raises(DatasetError, match="a label that is too large for a class number"):
        UserFiles("imdb", str(tmp_path / "b.csv"), num_classes=2).load("train")
    (tmp_path / "b.json").write_text("")
    with pytest.raises(DatasetError, match=r"b\.json cannot be read as a table"):
        UserFiles("imdb", str(tmp_path / "b.json"), num_classes=2).load("train")
    (tmp_path / "c.csv").write_text("text,label\na,0\nb,7\n")
    with pytest.raises(DatasetError, match="the label 7, outside 0 to 1"):
        UserFiles("imdb", str(tmp_path / "c.csv"), num_classes=2).load("train")
    for part, label in (("train", "good"), ("test", "bad")):
        write_table(tmp_path / "d" / f"{part}.csv", ["x", "y"], [label, "good"], ("text", "label"))
    with pytest.raises(DatasetError, match="The test data has the label 'bad'"):
        UserFiles("imdb", str(tmp_path / "d")).load("test")
    write_table(tmp_path / "d" / "test.csv", ["x", "y"], [0, 1], ("text", "label"))
    with pytest.raises(DatasetError, match="labels of the training data are words, but those of the test data are num"):
        UserFiles("imdb", str(tmp_path / "d"), num_classes=2).load("test")


LABELS = [0, 1] * 10


WRITTEN = ["007", "1.50", "2026-01-01", "null", "true", 'say "yes"', "two\nlines", "ä\u2028ö", *map(str, range(12))]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "json"])
def test_texts_are_read_as_they_are_written(tmp_path: Path, suffix: str) -> None:
    rows = [{"id": 1, "text": text, "label": label} for text, label in zip(WRITTEN, LABELS, strict=True)]
    path = tmp_path / f"a.{suffix}"
    with path.open("w", encoding="utf-8-sig", newline="") as file:  # with a byte order mark, like spreadsheets
        if suffix == "csv":
            writer = csv.DictWriter(file, ["id", "text", "label"])
            writer.writeheader()
            writer.writerows(rows)
        else:
            lines = [json.dumps(row, ensure_ascii=False) for row in rows]
            file.write("\n\n".join(lines) + "\n" if suffix == "jsonl" else f" [{','.join(lines)}]")
    source = UserFiles("custom", str(path))
    parts = [source.load(name) for name in ("train", "held_out", "test")]
    assert sorted(text for part in parts for text in part.texts) == sorted(WRITTEN)  # type: ignore[union-attr]
    assert sum(len(part) for part in parts) == len(LABELS)
    assert source.num_classes == 2


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ([" 1", "0"], [1, 0]),
        (["1.0", "0"], [1, 0]),
        (["True", "false"], [1, 0]),
        (["2026-01-01", "1"], ["2026-01-01", "1"]),
        (["nan", "b"], ["nan", "b"]),
    ],
)
def test_labels_of_csv_are_numbers_where_all_are(tmp_path: Path, written: list[str], read: list[object]) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(f"x,{label}\n" for label in written))
    assert tables.read([path], tables.Columns()).labels == read


@pytest.mark.parametrize("content", ["[1, 2]", '{"text": "a"', "[" * 100_000, '{"text": "\\ud800", "label": 0}', "5"])
def test_json_that_is_no_table(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DatasetError, match=r"a\.json cannot be read as a table"):
        UserFiles("imdb", str(tmp_path / "a.json")).load("train")


def test_words_as_labels_have_the_training_datas_numbers(tmp_path: Path) -> None:
    write_table(tmp_path / "train.csv", list("abcd"), ["bad", "good"] * 2, ("text", "label"))
    write_table(tmp_path / "test.csv", ["x", "y"], ["good", "good"], ("text", "label"))
    assert UserFiles("imdb", str(tmp_path), num_classes=2).load("test").labels.tolist() == [1, 1]
    assert TextTables("imdb", root=str(tmp_path)).load("test").labels.tolist() == [1, 1]
