"""The list of data sets as text and as JSON."""

from __future__ import annotations

import json
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from decloud_pl.cli import main
from tests.data import tiny


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["datasets", "--json", *arguments]) == 0
    shown: dict[str, Any] = json.loads(capsys.readouterr().out)
    return shown


def test_every_data_set_with_licence_size_and_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.write("mnist", tmp_path / "data")
    (tmp_path / "reviews.csv").write_text("text,label\na,0\nb,1\n")
    shown = listed(
        capsys,
        f"data.folder={tmp_path / 'data'}",
        "mappings={custom: mnist, squad: imdb}",
        f"paths={{yelpreviews: {tmp_path / 'reviews.csv'}, cifar10: {tmp_path / 'gone'}}}",
    )
    assert shown["data_folder"] == str(tmp_path / "data")
    assert shown["mappings"] == {"custom": "mnist", "squad": "imdb"}
    items = {item["name"]: item for item in shown["datasets"]}
    assert set(items) == {*tiny.CLASSES, "yelpreviews"}
    assert all(item["licence"] and item["size"] for item in items.values())
    mnist = items["mnist"]
    assert (mnist["on_disk"], mnist["path"]) == (True, str(tmp_path / "data" / "MNIST" / "raw"))
    assert mnist["bytes_on_disk"] == sum(path.stat().st_size for path in (tmp_path / "data").rglob("*-ubyte"))
    assert mnist["rounds"] == ["mnist", "custom"]
    assert items["digits"]["on_disk"]
    assert not items["imdb"]["on_disk"]
    assert items["imdb"]["rounds"] == ["imdb", "squad"]
    assert items["svhn"]["download_bytes"] == 182_040_794 + 64_275_384
    assert "does not exist" in items["cifar10"]["problem"]
    assert items["yelpreviews"]["rounds"] == ["yelpreviews"]


def test_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.write("svhn", tmp_path / "data")
    assert main(["datasets", f"data.folder={tmp_path / 'data'}"]) == 0
    text = capsys.readouterr().out
    assert "svhn: image, 10 classes, 99,289 colour images of 32×32, 246 MB" in text
    assert "licence: non-commercial use only (Stanford University)" in text
    assert f"files: {tmp_path / 'data' / 'SVHN'} (" in text
    assert "not downloaded yet; the daemon downloads them" in text
    assert "Rounds with the data set custom are trained on digits." in text


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--download", "squad"], 8, "No reader supports the data set 'squad'"),
        (["mappings.custom"], 3, "'mappings.custom' does not have the form KEY=VALUE"),
    ],
)
def test_wrong_input(arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", *arguments]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert words in shown.err
    assert "Traceback" not in shown.err


def test_a_mirror_without_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        mirror = f"http://127.0.0.1:{server.server_port}"
        assert main(["datasets", "--download", "mnist", f"data.mirror={mirror}"]) == 8
        server.shutdown()
    shown = capsys.readouterr()
    assert "cannot be downloaded (127.0.0.1: the server returned HTTP 404)" in shown.err
    assert "Traceback" not in shown.err
