"""Plans for tests whose worker ignores the content."""

from __future__ import annotations

from pathlib import Path

from decloud_pl.train.plan import CONFIG_FILE, ROUND_FILE, RoundFile, TrainingPlan

PLAN_FILES = frozenset({CONFIG_FILE, ROUND_FILE})


def empty_plan(folder: Path) -> TrainingPlan:
    """Return a plan with the schema's defaults."""
    return TrainingPlan(RoundFile(folder / "base-model", folder))


def write_plan(folder: Path) -> None:
    empty_plan(folder).write(folder)
