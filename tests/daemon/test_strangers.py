"""A malicious base model ends only its round: with real files, the real worker and the real quarantine."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from decloud_pl.config import compose
from decloud_pl.executors.process import ProcessExecutor
from decloud_pl.journal.record import State
from decloud_pl.models.registry import build
from decloud_pl.rounds.planner import SettingsPlanner
from tests.world import World

_PATIENCE = 120.0  # a worker needs seconds to import torch and Lightning


class Payload:
    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (self._command,)


def pickle_that_runs_a_command(path: Path) -> None:
    torch.save({"conv1.weight": Payload(f"touch {path.with_name('marker')}")}, path)


async def test_the_daemon_goes_on_with_the_next_round(world: World, tmp_path: Path) -> None:
    pickle_that_runs_a_command(tmp_path / "pickle.pt")
    torch.save(build("simple_cnn", {"num_classes": 10}).state_dict(), tmp_path / "good.pt")
    world.executor = ProcessExecutor()
    world.planner = SettingsPlanner(compose(["trainer=cpu", "max_batches=2", "update.force=true"]))
    async with world.daemon(force=True):  # two batches are too few for a gain
        bad = await world.post(model=tmp_path / "pickle.pt")
        await world.diary.reaches(bad, State.WAITING)
        await world.begin(bad)
        await world.diary.reaches(bad, State.FAILED, patience=_PATIENCE)
        assert "not executed" in world.row(bad).reason
        good = await world.post(model=tmp_path / "good.pt")
        await world.diary.reaches(good, State.WAITING)
        await world.begin(good)
        await world.diary.reaches(good, State.SUBMITTED, patience=_PATIENCE)
    assert not (tmp_path / "marker").exists()
