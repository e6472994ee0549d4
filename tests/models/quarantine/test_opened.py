"""The record of an opened base model: it counts only for the file that was opened, and only while it is complete."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from decloud_pl.models.base_model import BaseModel
from decloud_pl.models.make import make_package, make_spec
from decloud_pl.models.quarantine.opened import OPENED_FILE, hand_over, record, recorded


@pytest.fixture
def model(tmp_path: Path) -> BaseModel:
    spec = make_spec("mlp", {"num_classes": 3, "hidden": 2, "image_size": 8}, {})
    return make_package(tmp_path / "base.safetensors", spec)


def test_the_record_counts_only_for_the_file_that_was_opened(model: BaseModel, tmp_path: Path) -> None:
    assert recorded(tmp_path, "a" * 64) is None
    record(model, "a" * 64)
    assert recorded(tmp_path, "a" * 64) == model
    assert recorded(tmp_path, "b" * 64) is None


def test_a_model_that_was_handed_over_survives_the_first_package(model: BaseModel, tmp_path: Path) -> None:
    folder = tmp_path / "round"
    folder.mkdir()
    hand_over(model, "a" * 64, folder / "mine.safetensors")
    model.weights.unlink()
    found = recorded(folder, "a" * 64)
    assert found == BaseModel(model.spec, folder / "mine.safetensors", 3)
    assert found.network() is not None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"sha256": "a", "package": 1, "classes": 3}'])
def test_a_damaged_record_does_not_count(content: bytes, model: BaseModel, tmp_path: Path) -> None:
    record(model, "a")
    (tmp_path / OPENED_FILE).write_bytes(content)
    assert recorded(tmp_path, "a") is None


def test_a_record_of_another_version_does_not_count(model: BaseModel, tmp_path: Path) -> None:
    record(model, "a")
    content = json.loads((tmp_path / OPENED_FILE).read_bytes())
    (tmp_path / OPENED_FILE).write_text(json.dumps({**content, "version": "0.0.1"}))
    assert recorded(tmp_path, "a") is None


def test_a_package_outside_the_folder_does_not_count(model: BaseModel, tmp_path: Path) -> None:
    record(model, "a")
    inside = tmp_path / "inside"
    inside.mkdir()
    content = json.loads((tmp_path / OPENED_FILE).read_bytes())
    (inside / OPENED_FILE).write_text(json.dumps({**content, "package": "../base.safetensors"}))
    assert recorded(inside, "a") is None


def test_another_model_under_the_same_name_does_not_count(model: BaseModel, tmp_path: Path) -> None:
    """As after a kill between the two writes."""
    record(model, "a")
    make_package(model.weights, model.spec, seed=1)
    assert recorded(tmp_path, "a") is None


@pytest.mark.parametrize("content", [b"", b"no package"])
def test_a_damaged_package_does_not_count(content: bytes, model: BaseModel, tmp_path: Path) -> None:
    record(model, "a")
    model.weights.write_bytes(content)
    assert recorded(tmp_path, "a") is None
