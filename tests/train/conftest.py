"""A base model as the public creators post it, and plans for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

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
    """``make_plan(folder's name, *overrides, **fields of the plan)``, on the embedded digits."""

    def make(name: str, *overrides: str, **fields: Any) -> TrainingPlan:
        settings = compose(["trainer=cpu", *overrides])
        out = tmp_path / name
        out.mkdir()
        plan = TrainingPlan(
            base_model=base_model,
            out=out,
            dataset=settings.dataset,
            optimizer=settings.optimizer,
            scheduler=settings.scheduler or {},
            trainer=settings.trainer,
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            max_batches=settings.max_batches,
        )
        return dataclasses.replace(plan, **fields)

    return make
