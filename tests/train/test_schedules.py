"""Learning rates over a training, and optimizers from configuration nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import LRScheduler

from decloud_pl.config import compose
from decloud_pl.errors import ConfigError
from decloud_pl.train.fit.optimizers import optimizer_factory, scheduler_factory


def rates(*overrides: str, steps: int) -> list[float]:
    """Return the rate of each step and the one after the last, for a learning rate of 1."""
    settings = compose(["learning_rate=1", "optimizer=sgd", *overrides])
    optimizer = optimizer_factory(settings.optimizer)([torch.nn.Parameter(torch.zeros(1))])
    make = scheduler_factory(settings.scheduler or {})
    assert make is not None
    schedule: LRScheduler = make(optimizer, steps)
    found = [float(schedule.get_last_lr()[0])]
    for _ in range(steps):
        optimizer.step()
        schedule.step()
        found.append(float(schedule.get_last_lr()[0]))
    return found


def test_cosine_falls_from_the_rate_to_nothing() -> None:
    assert rates("scheduler=cosine", steps=4) == pytest.approx([1, 0.85355339, 0.5, 0.14644661, 0])


def test_cosine_warms_up_and_ends_at_a_share() -> None:
    found = rates("scheduler=cosine", "scheduler.warmup=0.4", "scheduler.final=0.2", steps=5)
    assert found == pytest.approx([1 / 3, 2 / 3, 1, 0.8, 0.4, 0.2])


def test_onecycle_rises_to_its_peak_and_falls_to_nothing() -> None:
    assert rates("scheduler=onecycle", "scheduler.warmup=0.5", steps=4) == pytest.approx([0.1, 1.55, 3, 1.5, 0])


def test_none_keeps_the_rate() -> None:
    assert scheduler_factory(compose(["scheduler=none"]).scheduler or {}) is None


def optimizer(**node: Any) -> torch.optim.Optimizer:
    return optimizer_factory({"_partial_": True, **node})([torch.nn.Parameter(torch.zeros(1))])


def test_adam_is_fused() -> None:
    assert optimizer_factory(compose([]).optimizer)([torch.nn.Parameter(torch.zeros(1))]).defaults["fused"] is True


def test_an_optimizer_without_a_fused_kernel_runs_without() -> None:
    made = optimizer(_target_="torch.optim.Adadelta", lr=0.5, fused=True)
    assert isinstance(made, torch.optim.Adadelta)
    assert made.defaults["lr"] == 0.5


def test_an_optimizer_of_a_package_that_is_not_allowed_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "not_allowed.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for target in ("not_allowed.Adam", "torch.optim.Adm"):
        with pytest.raises(ConfigError):
            optimizer(_target_=target)
    with pytest.raises(ConfigError, match="has no _target_"):
        optimizer(lr=0.1)


@pytest.mark.parametrize("extra", [{}, {"fused": True}])
def test_wrong_arguments_of_an_optimizer(extra: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"torch\.optim\.Adam cannot be built: Invalid learning rate: -1"):
        optimizer(_target_="torch.optim.Adam", lr=-1.0, **extra)
