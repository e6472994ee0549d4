from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch

from decloud_pl.models import ImageInput, ModelSpec, save
from decloud_pl.models.registry import build

State = dict[str, torch.Tensor]


@pytest.fixture
def state() -> State:
    """The weights of a newly initialized ``simple_cnn`` with four classes."""
    torch.manual_seed(0)
    return {name: value.clone() for name, value in build("simple_cnn", {"num_classes": 4}).state_dict().items()}


@pytest.fixture
def spec() -> ModelSpec:
    return ModelSpec("simple_cnn", {"num_classes": 4}, ImageInput())


@pytest.fixture
def packaged(tmp_path: Path, spec: ModelSpec, state: State) -> Path:
    path = tmp_path / "model.safetensors"
    save(path, spec, state)
    return path


PLUG_IN = """
import time

def network(*, do):
    while do == "wait":
        time.sleep(1)
    while do == "work":
        pass
"""


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a plug-in architecture, ``endless``, whose construction never ends."""
    folder = tmp_path / "plug-in"
    installed = folder / "endless-1.dist-info"
    installed.mkdir(parents=True)
    (folder / "endless.py").write_text(PLUG_IN)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: endless\nVersion: 1\n")
    (installed / "entry_points.txt").write_text("[decloud_pl.architectures]\nendless = endless:network\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


def endless(path: Path, do: str = "wait") -> Path:
    """Write a package that opens forever. The child process waits or computes."""
    header = {
        "__metadata__": ModelSpec("endless", {"do": do}).to_metadata(),
        "weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
    }
    data = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(data)) + data + bytes(4))
    return path
