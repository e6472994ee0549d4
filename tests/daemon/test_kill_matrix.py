"""SIGKILL at every point at which something was written, and at random moments: no round shows a trace of it."""

from __future__ import annotations

from pathlib import Path

from tests.harness.kills import POINTS, kill_at_every_point, kill_at_random, stage, wrong_rounds

RANDOM_KILLS = 25
"""`scripts/bench chain` kills two hundred times."""


async def test_killed_at_every_point(tmp_path: Path) -> None:
    async with stage(tmp_path, rounds=POINTS) as on:
        killed = await kill_at_every_point(on)
        # seen, joining, signed, settled, waiting, training, trained, publishing, pinned, submitting, signed, settled, …
        assert killed[:14] == list(range(14))
        assert len(on.parties.done) == POINTS + 1
        assert await wrong_rounds(on) == []


async def test_killed_at_random_moments(tmp_path: Path) -> None:
    async with stage(tmp_path, rounds=10_000) as on:
        assert await kill_at_random(on, RANDOM_KILLS) > 4  # two at the start and two at the end without a kill
        assert await wrong_rounds(on) == []
