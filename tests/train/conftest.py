"""A base model as the public creators post it, and plans for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from decloud_pl.daemon.planner import training_plan
from decloud_pl.models.registry import build
from decloud_pl.settings import compose
from decloud_pl.train.plan import TrainingPlan

MakePlan = Callable[..., TrainingPlan]


@pytest.fixture(scope="session")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("base") / "base.pt"
    torch.save(build("simple_cnn", {"num_classes": 10}).state_dict(), path)
    return path


@pytest.fixture
def make_plan(base_model: Path, tmp_path: Path) -> MakePlan:
    """``make_plan(folder's name, *overrides, **fields of the round)``, on the embedded digits."""

    def make(name: str, *overrides: str, **fields: Any) -> TrainingPlan:
        settings = compose(["trainer=cpu", *overrides])
        folder = tmp_path / name
        folder.mkdir()
        plan = training_plan(
            settings, dataset=settings.dataset, base_model=base_model, folder=folder, name=name, threads=1
        )
        return dataclasses.replace(plan, round=dataclasses.replace(plan.round, **fields))

    return make
