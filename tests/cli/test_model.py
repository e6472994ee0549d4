"""Packages are created and inspected, even with malicious content."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from decloud_pl.cli import main
from decloud_pl.models import load
from decloud_pl.models.make import make_package, make_spec
from decloud_pl.models.registry import build
from decloud_pl.store.ipfs.unixfs import cid_of_file


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["model", *arguments, "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_fresh_weights_are_the_same_for_the_same_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model"
    arguments = ["pack", str(path), "--architecture", "text_bag", "--set", "num_classes=4", "--set", "vocabulary=900"]
    document = shown(capsys, *arguments, "--input", "length=20", "--seed", "3")
    assert document["architecture"] == "text_bag"
    assert document["hyper_parameters"] == {"num_classes": 4, "vocabulary": 900}
    assert document["input"] == {"kind": "text", "tokenizer": "hashed_words", "vocabulary": 900, "length": 20}
    assert (document["classes"], document["problem"]) == (4, None)
    assert document["bytes"] == path.stat().st_size
    assert document["cid"] == str(cid_of_file(path))
    assert shown(capsys, "inspect", str(path)) == document
    spec = make_spec("text_bag", {"num_classes": 4, "vocabulary": 900}, {"length": 20})
    for seed in (3, 4):
        make_package(tmp_path / "other", spec, seed=seed)
        assert (str(cid_of_file(tmp_path / "other")) == document["cid"]) is (seed == 3)


def test_a_state_dict_becomes_a_package(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    state = build("mlp", {"image_size": 8, "hidden": 4}).state_dict()
    torch.save(state, tmp_path / "mlp.pt")
    given = ["--architecture", "mlp", "--set", "image_size=8", "--set", "hidden=4", "--weights"]
    shown(capsys, "pack", str(tmp_path / "model"), *given, str(tmp_path / "mlp.pt"))
    spec, weights = load(tmp_path / "model")
    assert spec.hyper_parameters == {"image_size": 8, "hidden": 4}
    assert all(torch.equal(weights[name], value) for name, value in state.items())
    torch.save({**state, "head.bias": torch.zeros(3)}, tmp_path / "mlp.pt")
    assert main(["model", "pack", str(tmp_path / "other"), *given, str(tmp_path / "mlp.pt")]) == 9
    assert "head.bias has the shape (3,), not (10,)" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"mlp.pt", "model"}


def test_any_dictionary_of_tensors_can_be_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "update.pt"
    moves_the_cursor = "fc2\x1b[2J\r\ud800.bias"
    torch.save(
        {"fc2.bias": torch.zeros(4, dtype=torch.float16), "n": torch.tensor(3), moves_the_cursor: torch.zeros(4)}, path
    )
    document = shown(capsys, "inspect", str(path))
    assert document["architecture"] is None
    assert "no supported network" in document["problem"]
    assert document["tensors"] == [
        {"name": "fc2.bias", "dtype": "float16", "shape": [4]},
        {"name": "n", "dtype": "int64", "shape": []},
        {"name": moves_the_cursor, "dtype": "float32", "shape": [4]},
    ]
    assert main(["model", "inspect", str(path)]) == 0
    text = capsys.readouterr().out
    assert "Not a base model: The tensors match no supported network. In a file that is not a model package" in text
    assert "  fc2.bias  float16 4" in text.splitlines()
    assert r"  fc2\x1b[2J \ud800.bias  float32 4" in text.splitlines()
    torch.save(build("simple_cnn", {"num_classes": 7}).state_dict(), path)
    assert main(["model", "inspect", str(path)]) == 0
    assert "simple_cnn (num_classes=7), 7 classes" in capsys.readouterr().out


class Payload:
    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (self._command,)


def test_looking_at_a_file_runs_nothing_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"a": Payload(f"touch {tmp_path / 'marker'}")}, tmp_path / "bad.pt")
    assert main(["model", "inspect", str(tmp_path / "bad.pt")]) == 9
    assert "not executed" in capsys.readouterr().err
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["inspect", "nowhere"], 2, "The file nowhere does not exist"),
        (["pack", "m", "--architecture", "resnext"], 9, "Unknown architecture 'resnext'. Known: simple_cnn"),
        (["pack", "m", "--architecture", "mlp", "--set", "hidden"], 2, "--set needs KEY=VALUE (got 'hidden')"),
        (["pack", "m", "--architecture", "mlp", "--set", "hidden=0"], 9, "hidden must be a whole number from 1"),
        (
            ["pack", "m", "--architecture", "mlp", "--input", "length=3"],
            9,
            "The image input of mlp has no field 'length'",
        ),
        (["pack", "m", "--architecture", "mlp", "--input", "size=3"], 9, "8 to 1024 pixels"),
        (["pack", "no/m", "--architecture", "mlp"], 2, "The folder no does not exist"),
        (["pack", "m"], 2, "--architecture"),
    ],
)
def test_wrong_input(
    arguments: list[str],
    code: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["model", *arguments]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert words in shown.err
    assert "Traceback" not in shown.err
    assert not list(tmp_path.iterdir())
