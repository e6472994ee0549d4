from __future__ import annotations

from pathlib import Path

import pytest
import torch

from decloud_pl.models import ImageInput, ModelSpec, save
from decloud_pl.models.registry import build

State = dict[str, torch.Tensor]


@pytest.fixture
def state() -> State:
    """The weights of a freshly initialised ``simple_cnn`` with four classes."""
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
