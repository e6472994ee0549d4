"""Whatever form a user's files have: class folders, arrays, tables; and one clear sentence for what they have not."""

from __future__ import annotations

import csv
import json
import os
import pickle
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from decloud_pl.data.catalog import Catalog
from decloud_pl.data.entry import DataFolder
from decloud_pl.data.formats import tables
from decloud_pl.data.formats.image_files import ImageFiles
from decloud_pl.data.formats.text import TextTables
from decloud_pl.data.inventory import inventory
from decloud_pl.data.source import ImageSplit, SplitName, TextSplit
from decloud_pl.data.user_files import UserFiles
from decloud_pl.errors import DatasetError, DatasetNotFound
from decloud_pl.models.spec import ImageInput
from decloud_pl.train.fit.encoding import encoder_for
from tests.data import tiny


def write_image_folder(folder: Path, count: int, classes: int, seed: int = 0) -> None:
    pixels, labels = tiny.images(count, classes, 20, 3, seed)
    for index, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        target = folder / f"class{label}"
        target.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(target / f"{index}.{('png', 'jpg')[index % 2]}")


def sizes(source: UserFiles) -> dict[str, int]:
    return {name: len(source.load(name)) for name in ("train", "held_out", "test")}


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
    with pytest.raises(DatasetError, match="class2 is a class that the training images do not have"):
        UserFiles("food101", str(tmp_path)).load("test")
    for path in (tmp_path / "train").glob("*/*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"\.png is not an image that can be read"):
        encoder_for(ImageInput()).pack(UserFiles("food101", str(tmp_path)).load("train"))
    with pytest.raises(DatasetError, match=r"food101 has 1 classes, .* has 2: 0 = class0, 1 = .*mappings\.food101"):
        UserFiles("food101", str(tmp_path), num_classes=1)


def write_classes(folder: Path, *names: str, count: int = 5) -> None:
    """Class folders of grey images; the image of the folder at index n has the value n everywhere."""
    for value, name in enumerate(names):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            Image.new("L", (8, 8), value).save(folder / name / f"{index}.png")


def labels_by_value(source: UserFiles, split: SplitName = "train") -> dict[int, set[int]]:
    """The labels that images of one value have."""
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
    with pytest.raises(DatasetError, match=r"numbers from 1 to 10.*\?first_label=1 after the path.*\?first_label=0 if"):
        UserFiles("custom", str(tmp_path), 10)
    assert labels_by_value(UserFiles("custom", f"{tmp_path}?first_label=1", 10)) == {n: {n} for n in range(10)}
    as_named = UserFiles("custom", f"{tmp_path}?first_label=0")
    assert (as_named.num_classes, labels_by_value(as_named)[0]) == (11, {1})
    with pytest.raises(DatasetError, match=r"the class folder 1, below \?first_label=2"):
        UserFiles("custom", f"{tmp_path}?first_label=2", 10)
    with pytest.raises(DatasetError, match=r"\?first_label=one is no whole number"):
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
        with pytest.raises(DatasetError, match=r"numbers from 1 to 3.*\?first_label=1 after the path"):
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
    with pytest.raises(DatasetError, match=r"has one class only, 'cats'.*the folder whose folders are the classes"):
        UserFiles("custom", str(tmp_path / "images"), declared)
    np.savez(tmp_path / "a.npz", images=np.zeros((9, 8, 8), np.uint8), labels=np.zeros(9, np.int64))
    write_table(tmp_path / "a.csv", list("abcdef"), [0] * 6, ("text", "label"))
    write_table(tmp_path / "b.csv", list("abcdef"), ["good"] * 6, ("text", "label"))
    for file, label in (("a.npz", "0"), ("a.csv", "0"), ("b.csv", "good")):
        for split in ("train", "held_out"):
            with pytest.raises(DatasetError, match=f"has one class only, '{label}'"):
                UserFiles("custom", str(tmp_path / file), declared).load(split)


def test_other_classes_than_declared(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_classes(tmp_path / "names", *"abcd")
    for declared in (3, 10):
        with pytest.raises(DatasetError, match=f"has {declared} classes, .* has 4: 0 = a, 1 = b, .*by its number"):
            UserFiles("custom", str(tmp_path / "names"), declared)
    with pytest.raises(DatasetError, match=r"cifar10 has 10 classes, .* has 4: .*paths\.cifar10"):
        Catalog(DataFolder(tmp_path), paths={"cifar10": str(tmp_path / "names")}).resolve("cifar10")
    write_table(tmp_path / "a.csv", list("abcdef"), ["good", "bad"] * 3, ("text", "label"))
    with pytest.raises(DatasetError, match=r"agnews has 4 classes, .* has 2: 0 = bad, 1 = good"):
        UserFiles("agnews", str(tmp_path / "a.csv"), 4).load("train")
    write_classes(tmp_path / "numbers", "0", "1", "4")
    with pytest.raises(DatasetError, match=r"has 4 classes, .* has the label 4"):
        UserFiles("custom", str(tmp_path / "numbers"), 4)
    assert not caplog.records
    UserFiles("custom", str(tmp_path / "numbers"), 5).load("train")
    assert "has samples of 3 of the 5 classes of custom; these labels have none: 2, 3" in caplog.text


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


def pixels_of(path: Path, size: int) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = ImageFiles((path,)).read(size)[0]
    return pixels


RAMP = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)


@pytest.mark.parametrize("form", ["png", "tiff", "big-endian.tif", "pgm", "12-bit.pgm"])
def test_grey_of_16_bits_is_scaled(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"a.{form}"
    if form == "12-bit.pgm":
        path.write_bytes(b"P5 16 16 4095\n" + (RAMP // 16).astype(">u2").tobytes())
    elif form == "big-endian.tif":
        Image.frombytes("I;16B", (16, 16), RAMP.astype(">u2").tobytes()).save(path)
    else:
        Image.fromarray(RAMP).save(path)
    found = pixels_of(path, 16).astype(int)
    assert np.abs(found - np.arange(256).reshape(16, 16, 1)).max() <= (1 if form == "12-bit.pgm" else 0)


@pytest.mark.parametrize(
    ("kind", "words"), [(np.int32, "whole numbers of 32 bits"), (np.float32, "numbers with a fraction")]
)
def test_pixels_without_a_known_range_are_refused(tmp_path: Path, kind: type, words: str) -> None:
    Image.fromarray(RAMP.astype(kind)).save(tmp_path / "a.tiff")
    with pytest.raises(DatasetError, match=rf"a\.tiff has pixels that are .*{words}.*8 or 16 bits"):
        pixels_of(tmp_path / "a.tiff", 16)


def images_of_many_kinds() -> Iterator[tuple[str, Image.Image, dict[str, Any]]]:
    colour = Image.fromarray(np.arange(16 * 12 * 3, dtype=np.uint8).reshape(16, 12, 3))
    exif = Image.Exif()
    for orientation in range(1, 9):
        exif[0x0112] = orientation
        yield f"orientation{orientation}.jpg", colour, {"exif": exif.tobytes()}
    alpha = Image.fromarray(np.arange(16 * 12, dtype=np.uint8).reshape(16, 12))
    see_through = colour.copy()
    see_through.putalpha(alpha)
    yield "rgba.png", see_through, {}
    yield "rgba.webp", see_through, {"lossless": True}
    yield "la.png", see_through.convert("LA"), {}
    yield "one-colour.png", colour, {"transparency": (0, 1, 2)}
    yield "palette.png", colour.quantize(8), {"transparency": bytes([0, 128, 255])}
    yield "palette.gif", colour.quantize(8), {"transparency": 1}
    yield "grey.png", alpha, {}
    yield "bits.png", alpha.convert("1"), {}
    yield "cmyk.jpg", colour.convert("CMYK"), {}


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")  # torchvision's
def test_orientation_and_transparency_are_those_of_torchvisions_loader(tmp_path: Path) -> None:
    from torchvision.datasets.folder import pil_loader

    for name, image, options in images_of_many_kinds():
        image.save(tmp_path / name, **options)
        expected = pil_loader(str(tmp_path / name)).resize((16, 16), Image.Resampling.BILINEAR)
        assert np.array_equal(pixels_of(tmp_path / name, 16), np.asarray(expected)), name


def test_an_image_that_is_too_large_is_named_as_such(tmp_path: Path) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 15_000, 15_000, 8, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DatasetError, match=r"a\.png is too large: it has more than 178,956,970 pixels.*sees 32×32"):
        pixels_of(tmp_path / "a.png", 32)


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


def test_arrays_of_one_part_are_divided(tmp_path: Path) -> None:
    images, labels = tiny.images(50, 5, 8, 1, 0)
    np.savez(tmp_path / "all.npz", images=images, labels=labels)
    assert sizes(UserFiles("custom", str(tmp_path / "all.npz"))) == {"train": 36, "held_out": 4, "test": 10}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"images": np.zeros((4, 8))}, "has the shape"),
        ({"images": np.zeros((4, 8, 8, 4))}, "has the shape"),
        ({"images": np.full((4, 8, 8), 300)}, "no pixels"),
        ({"images": np.full((4, 8, 8), np.nan)}, "no pixels"),
        ({"images": np.array(["a"] * 4 * 64).reshape(4, 8, 8)}, "not a NumPy array of numbers|no pixels"),
        ({"labels": np.zeros(4)}, "must be whole numbers"),
        ({"labels": np.zeros((4, 10), np.int64)}, "must be whole numbers"),
        ({"labels": np.zeros(3, np.int64)}, "4 images and 3 labels"),
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
    """A .npy file whose header says what it likes."""
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
    with pytest.raises(DatasetError, match="not a NumPy array of numbers, or it is damaged"):
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
        with pytest.raises(DatasetError, match=f"too few samples for a test split: {count}"):
            UserFiles("custom", str(tmp_path / "a.npz")).load(split)
    np.savez(tmp_path / "a.npz", x_train=images[:1], y_train=labels[:1], x_test=images, y_test=labels)
    with pytest.raises(DatasetError, match=r"too few training samples: 1\. Add some: at least 2"):
        UserFiles("custom", str(tmp_path / "a.npz"), num_classes=2).load("train")


def test_a_path_that_cannot_even_be_looked_at(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFound, match=r"the path of the data set custom.*Correct paths\.custom"):
        UserFiles("custom", f"{tmp_path}/{'x' * 5000}")


def test_a_damaged_npz(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(DatasetError, match=r"is not an \.npz file, or it is damaged"):
        UserFiles("custom", str(tmp_path / "a.npz"))


def write_table(path: Path, texts: list[str], labels: list[int] | list[str], names: tuple[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [dict(zip(names, row, strict=True)) for row in zip(texts, labels, strict=True)]
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".parquet":
        from pyarrow import parquet, table

        parquet.write_table(table({names[0]: texts, names[1]: labels, "other": [0] * len(texts)}), path)
    else:
        separator = "\t" if path.suffix == ".tsv" else ","
        lines = [
            separator.join(names),
            *(f'"{text}"{separator}{label}' for text, label in zip(texts, labels, strict=True)),
        ]
        path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".tsv", ".jsonl"])
@pytest.mark.parametrize("as_words", [False, True])
def test_tables(tmp_path: Path, suffix: str, as_words: bool) -> None:
    for seed, (word, count) in enumerate((("train", 20), ("test", 8))):
        texts, labels = tiny.texts(count, 4, seed)
        texts[0] = "None, null, N/A"  # are words too
        given = [f"topic{3 - label}" for label in labels] if as_words else labels
        write_table(tmp_path / f"{word}{suffix}", texts, given, ("sentence", "category"))
    source = UserFiles("yelpreviews", str(tmp_path))
    assert (source.kind, source.num_classes) == ("text", 4)
    assert sizes(source) == {"train": 18, "held_out": 2, "test": 8}
    split = source.load("test")
    assert isinstance(split, TextSplit)
    assert split.texts[0] == "None, null, N/A"
    assert split.labels.tolist() == [3 - label if as_words else label for label in labels]


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
    (tmp_path / "b.csv").write_text("text,label\na,0.5\nb,1\n")
    with pytest.raises(DatasetError, match="no whole number"):
        UserFiles("imdb", str(tmp_path / "b.csv"), num_classes=2).load("train")
    (tmp_path / "b.csv").write_text("text,label\na,1e300\nb,1\n")
    with pytest.raises(DatasetError, match="a label that is no class number"):
        UserFiles("imdb", str(tmp_path / "b.csv"), num_classes=2).load("train")
    (tmp_path / "b.json").write_text("")
    with pytest.raises(DatasetError, match=r"b\.json cannot be read as a table"):
        UserFiles("imdb", str(tmp_path / "b.json"), num_classes=2).load("train")
    (tmp_path / "c.csv").write_text("text,label\na,0\nb,7\n")
    with pytest.raises(DatasetError, match="the label 7, outside 0 to 1"):
        UserFiles("imdb", str(tmp_path / "c.csv"), num_classes=2).load("train")
    for part, label in (("train", "good"), ("test", "bad")):
        write_table(tmp_path / "d" / f"{part}.csv", ["x", "y"], [label, "good"], ("text", "label"))
    with pytest.raises(DatasetError, match="A label is 'bad', which the training data does not know"):
        UserFiles("imdb", str(tmp_path / "d")).load("test")
    write_table(tmp_path / "d" / "test.csv", ["x", "y"], [0, 1], ("text", "label"))
    with pytest.raises(DatasetError, match="training data's labels are words, the test data's are numbers"):
        UserFiles("imdb", str(tmp_path / "d"), num_classes=2).load("test")


LABELS = [0, 1] * 10
WRITTEN = ["007", "1.50", "2026-01-01", "null", "true", 'say "yes"', "two\nlines", "ä\u2028ö", *map(str, range(12))]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "json"])
def test_texts_are_read_as_they_are_written(tmp_path: Path, suffix: str) -> None:
    rows = [{"id": 1, "text": text, "label": label} for text, label in zip(WRITTEN, LABELS, strict=True)]
    path = tmp_path / f"a.{suffix}"
    with path.open("w", encoding="utf-8-sig", newline="") as file:  # with the mark that spreadsheets put first
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


def texts_of(path: Path) -> list[str]:
    return list(tables.read([path], tables.Columns()).texts)


@pytest.mark.parametrize(
    ("stray", "last"),
    [
        ('"never closed', "x"),
        ('"closed" too early', "x"),
        ('"opened', 'and closed"'),
        ('"opened', '"and again'),
        ('5" disk', 'a "word" in it'),
    ],
)
def test_a_tsv_with_a_stray_quote_has_all_its_rows(tmp_path: Path, stray: str, last: str) -> None:
    path = tmp_path / "a.tsv"
    texts = ["first", stray, *map(str, range(36)), last, "end"]
    path.write_text("text\tlabel\n" + "".join(f"{text}\t{index % 2}\n" for index, text in enumerate(texts)))
    assert texts_of(path) == texts
    path.write_text("label\ttext\n" + "".join(f"{index % 2}\t{text}\n" for index, text in enumerate(texts)))
    assert texts_of(path) == texts


def test_a_tsv_may_have_quoted_texts_of_several_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('text\tlabel\n"two\nlines"\t0\n\n"say ""yes"""\t1\n')
    assert texts_of(path) == ["two\nlines", 'say "yes"']
    path.write_text('text\tlabel\n"two\nlines"\t0\n"stray\t1\n')
    with pytest.raises(DatasetError, match=r"a\.tsv has 1 fields in line 2, its header 2"):
        texts_of(path)


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (['"never closed,0', "b,1"], 3),
        (['"closed" too early,0', "b,1"], 3),
        (['"opened,0', "b,1", 'and closed",1', "c,0"], 3),
        (['"opened,0', 'and closed",1', "c,0"], 3),
        (["b,1", "c,0", '"last,1'], 5),
    ],
)
def test_a_csv_with_a_stray_quote_is_refused_with_its_line(tmp_path: Path, rows: list[str], line: int) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["text,label", "a,0", *rows]) + "\n")
    with pytest.raises(DatasetError, match=rf"a\.csv has a quote in the row at line {line} that"):
        texts_of(path)


def test_a_csv_may_have_long_texts_of_several_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    letter = "Dear all,\n\nthanks, bye,\nX"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), (letter, 0), ("x" * 1_000_000, 1), ('5" disk', 0)])
    assert texts_of(path) == [letter, "x" * 1_000_000, '5" disk']
    path.write_text("text,label\na,0\nb,c,1\n")
    with pytest.raises(DatasetError, match=r"a\.csv has 3 fields in line 3, its header 2\. .*in quotes"):
        texts_of(path)


@pytest.mark.parametrize(
    ("name", "mark", "words"),
    [
        ("a.csv", ";", "by semicolons, not by commas. Save it with commas"),
        ("a.csv", "\t", "by tabs, not by commas"),
        ("a.csv", "|", "by bars, not by commas"),
        ("a.tsv", ";", "by semicolons, not by tabs"),
        ("a.tsv", ",", "by commas, not by tabs"),
    ],
)
def test_another_separator_is_named(tmp_path: Path, name: str, mark: str, words: str) -> None:
    (tmp_path / name).write_text(f"text{mark}label\na, b{mark}0\nc{mark}1\n")
    for columns in (tables.Columns(), tables.Columns("text", "label")):
        with pytest.raises(DatasetError, match=re.escape(words)):
            tables.read([tmp_path / name], columns)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "json"])
def test_another_encoding_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    rows = [("plain", 0), ("caf\N{LATIN SMALL LETTER E WITH ACUTE}", 1)]
    if suffix.startswith("json"):
        text = "\n".join(json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in rows)
    else:
        mark = "," if suffix == "csv" else "\t"
        text = "\n".join([f"text{mark}label", *(f"{text}{mark}{label}" for text, label in rows)])
    line = 2 if suffix.startswith("json") else 3
    for encoding in ("latin-1", "cp1252"):
        path.write_text(text, encoding=encoding)
        with pytest.raises(DatasetError, match=rf"is not UTF-8 text: see line {line}\. .*iconv -f LATIN1"):
            texts_of(path)
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        path.write_text(text, encoding=encoding)
        with pytest.raises(DatasetError, match=r"is UTF-16 text\. .*iconv -f UTF-16"):
            texts_of(path)
    path.write_text(text, encoding="utf-8-sig")
    assert texts_of(path) == [text for text, _ in rows]


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_columns_that_nobody_reads_may_be_anything(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    rows = [
        {"text": "a", "label": 0, "note": None},
        {"text": "b", "label": 1, "note": "late", "late": {"deep": [1]}},
        {"label": 0, "text": "c", "note": 3, "late": "other"},
    ]
    lines = [json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) if suffix == "jsonl" else f"[{','.join(lines)}]")
    assert texts_of(path) == ["a", "b", "c"]
    path.write_text('{"body": "a", "label": 0}\n{"body": "b", "label": 1, "late": 2}\n')
    with pytest.raises(DatasetError, match="has no text column; it has body, label, late"):
        texts_of(path)
    path.write_text('{"text": "a", "label": 0}\n{"text": "b", "label"\n')
    with pytest.raises(DatasetError, match=r"cannot be read as a table: line 2 is no JSON object\. Correct"):
        texts_of(path)


def test_words_as_labels_have_the_training_datas_numbers(tmp_path: Path) -> None:
    write_table(tmp_path / "train.csv", list("abcd"), ["bad", "good"] * 2, ("text", "label"))
    write_table(tmp_path / "test.csv", ["x", "y"], ["good", "good"], ("text", "label"))
    assert UserFiles("imdb", str(tmp_path), num_classes=2).load("test").labels.tolist() == [1, 1]
    assert TextTables("imdb", root=str(tmp_path)).load("test").labels.tolist() == [1, 1]
