"""A package describes its content. An invalid header is refused in one sentence."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch

from decloud_pl.errors import ModelError
from decloud_pl.models import ImageInput, ModelSpec, load, save
from decloud_pl.models.package import MAX_HEADER_BYTES, MAX_TENSORS, read_header, read_spec

State = dict[str, torch.Tensor]


def test_what_is_saved_is_loaded(tmp_path: Path, state: State) -> None:
    spec = ModelSpec("simple_cnn", {"num_classes": 4}, ImageInput(size=48, mean=0.25, std=0.75))
    path = tmp_path / "model.safetensors"
    save(path, spec, state)
    assert read_spec(path) == spec
    found, weights = load(path)
    assert found == spec
    assert set(weights) == set(state)
    assert all(torch.equal(weights[name], state[name]) for name in state)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.safetensors"]


def test_the_same_model_gives_the_same_bytes(tmp_path: Path, spec: ModelSpec, state: State) -> None:
    save(tmp_path / "a", spec, state)
    save(tmp_path / "b", spec, dict(reversed(state.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_tensors_may_share_memory(tmp_path: Path, spec: ModelSpec) -> None:
    tied = torch.arange(6.0).reshape(2, 3)
    save(tmp_path / "model", spec, {"in": tied, "out": tied, "row": tied[1]})
    _, weights = load(tmp_path / "model")
    assert torch.equal(weights["in"], tied)
    assert torch.equal(weights["out"], tied)
    assert torch.equal(weights["row"], tied[1])


def test_a_description_that_could_not_be_read_is_not_written(tmp_path: Path, state: State) -> None:
    with pytest.raises(ModelError, match="8 to 1024 pixels"):
        save(tmp_path / "model", ModelSpec("simple_cnn", {}, ImageInput(size=4)), state)
    assert not list(tmp_path.iterdir())


GOOD = ModelSpec("simple_cnn", {"num_classes": 4}).to_metadata()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format_version": "2"}, "has format '2', but this program supports '1'"),
        ({"format_version": 1}, "no format_version"),
        ({"architecture": ""}, "no architecture"),
        ({"architecture": ["simple_cnn"]}, "no architecture"),
        ({"architecture": "x" * 101}, "a name of more than 100 characters"),
        ({"hyper_parameters": "[1]"}, "hyper_parameters is not a JSON object"),
        ({"hyper_parameters": "{"}, "hyper_parameters is not a JSON object"),
        ({"hyper_parameters": "[" * 60_000}, "hyper_parameters is not a JSON object"),
        ({"hyper_parameters": "{" + " " * 70_000 + "}"}, "hyper_parameters has more than 65,536 characters"),
        ({"hyper_parameters": {}}, "no hyper_parameters"),
        ({"input": '{"kind": "sound"}'}, "unknown kind"),
        ({"input": '{"kind": "image", "depth": 3}'}, "unknown keys"),
        ({"input": '{"kind": "image", "size": 100000}'}, "8 to 1024 pixels"),
        ({"input": '{"kind": "image", "size": true}'}, "8 to 1024 pixels"),
        ({"input": '{"kind": "image", "channels": 1}'}, "3 channels"),
        ({"input": '{"kind": "image", "std": 0}'}, "mean must be from -1000 to 1000"),
        ({"input": '{"kind": "image", "std": NaN}'}, "mean must be from -1000 to 1000"),
        ({"input": '{"kind": "image", "mean": "0.5"}'}, "mean must be from -1000 to 1000"),
        ({"input": '{"kind": "image", "mean": Infinity}'}, "mean must be from -1000 to 1000"),
        ({"input": '{"kind": "image", "mean": 1' + "0" * 400 + "}"}, "mean must be from -1000 to 1000"),
    ],
)
def test_a_description_out_of_the_schema(change: dict[str, object], sentence: str) -> None:
    ModelSpec.from_metadata(GOOD)
    with pytest.raises(ModelError, match=sentence):
        ModelSpec.from_metadata({**GOOD, **change})


@pytest.mark.parametrize("metadata", [None, "text", ["list"], 7])
def test_no_description_at_all(metadata: object) -> None:
    with pytest.raises(ModelError, match="no model description"):
        ModelSpec.from_metadata(metadata)


def with_header(path: Path, header: bytes, length: int | None = None) -> Path:
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header)
    return path


@pytest.mark.parametrize(
    ("header", "length", "sentence"),
    [
        (b"", None, "neither a model package"),
        (b"{}", MAX_HEADER_BYTES + 1, "neither a model package"),
        (b"{}", 2**63, "neither a model package"),
        (b"{}", 100, "truncated"),
        (b"[]", None, "not a safetensors file"),
        (b"{nonsense}", None, "not a safetensors file"),
        (b"[" * 50_000, None, "not a safetensors file"),
        (b"\xff\xfe{}", None, "not a safetensors file"),
    ],
)
def test_a_header_that_is_none(tmp_path: Path, header: bytes, length: int | None, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        read_header(with_header(tmp_path / "model", header, length))


def test_a_header_of_too_many_tensors(tmp_path: Path) -> None:
    names: dict[str, object] = {f"t{number}": {} for number in range(MAX_TENSORS + 1)}
    with pytest.raises(ModelError, match="has 20,001 tensors"):
        read_header(with_header(tmp_path / "model", json.dumps(names).encode()))


@pytest.mark.parametrize("size", [0, 7, 100, -1])
def test_a_truncated_package(packaged: Path, size: int) -> None:
    packaged.write_bytes(packaged.read_bytes()[:size])
    with pytest.raises(ModelError):
        load(packaged)


def test_a_network_is_saved_with_its_weights_and_read_back(tmp_path: Path) -> None:
    spec = ModelSpec("mlp", {"num_classes": 3, "image_size": 8, "hidden": 4}, ImageInput(size=8))
    network = spec.network()
    save(str(tmp_path / "mine.safetensors"), spec, network)
    found_spec, state = load(tmp_path / "mine.safetensors")
    assert found_spec == spec
    assert state.keys() == network.state_dict().keys()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(state[name], value)


def test_a_package_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gone\.safetensors cannot be read: No such file or directory\."):
        load(tmp_path / "gone.safetensors")
