"""A base model as public creators publish it, and plans that use it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from decloud_pl.config import compose
from decloud_pl.models.base_model import BaseModel
from decloud_pl.models.inputs import ImageInput
from decloud_pl.models.package import save
from decloud_pl.models.quarantine.opened import hand_over
from decloud_pl.models.registry import build
from decloud_pl.models.spec import ModelSpec
from decloud_pl.rounds.planner import training_plan
from decloud_pl.train.plan import BASE_WEIGHTS_FILE, TrainingPlan

if TYPE_CHECKING:
    from decloud_pl.train.fit.setup import FitSetup

MakePlan = Callable[..., TrainingPlan]
MakeSetup = Callable[..., "FitSetup"]


@pytest.fixture(scope="session")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("base") / "base.pt"
    torch.save(build("simple_cnn", {"num_classes": 10}).state_dict(), path)
    return path


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """A model that trains very fast: 8 by 8 pixels, 16 hidden units, dropout."""
    torch.manual_seed(0)
    spec = ModelSpec(
        "mlp", {"num_classes": 10, "image_size": 8, "hidden": 16, "layers": 1, "dropout": 0.25}, ImageInput(size=8)
    )
    path = tmp_path_factory.mktemp("tiny") / "base.safetensors"
    save(path, spec, build(spec.architecture, spec.hyper_parameters).state_dict())
    return BaseModel(spec, path, 10)


@pytest.fixture
def make_setup(make_plan: MakePlan, tiny_model: BaseModel) -> MakeSetup:
    """Make fit setups from the plans of `make_plan`."""

    # Imports Lightning, which takes seconds. The fast tests need no setup.
    from decloud_pl.train.fit.setup import FitSetup

    def make(name: str, *overrides: str, **fields: Any) -> FitSetup:
        return FitSetup.of(make_plan(name, *overrides, **fields), tiny_model)

    return make


@pytest.fixture
def make_plan(tiny_model: BaseModel, tmp_path: Path) -> MakePlan:
    """Make plans on the embedded digits: ``make_plan(folder name, *overrides, **fields of the round)``.

    The base model is the tiny one. As in a round of the daemon, it has been opened before the training. The quarantine
    opens any other file that the field ``base_model`` names.
    """

    def make(name: str, *overrides: str, **fields: Any) -> TrainingPlan:
        settings = compose(["trainer=cpu", *overrides])
        folder = tmp_path / name
        folder.mkdir()
        plan = training_plan(
            settings, dataset=settings.dataset, base_model=tiny_model.weights, folder=folder, name=name, threads=1
        )
        hand_over(tiny_model, plan.round.base_model_hash, folder / BASE_WEIGHTS_FILE)
        return dataclasses.replace(plan, round=dataclasses.replace(plan.round, **fields))

    return make
