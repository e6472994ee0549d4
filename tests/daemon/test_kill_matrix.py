"""SIGKILL after every write and at random moments leaves no trace in any round."""

from __future__ import annotations

from pathlib import Path

from tests.harness.kills import POINTS, kill_at_every_point, kill_at_random, stage, wrong_rounds

RANDOM_KILLS = 25
"""`scripts/bench chain` runs two hundred kills."""


async def test_killed_at_every_point(tmp_path: Path) -> None:
    async with stage(tmp_path, rounds=POINTS) as on:
        killed = await kill_at_every_point(on)
        # seen, joining, signed, settled, waiting, training, trained, publishing, pinned, submitting, signed, settled, …
        assert killed[:14] == list(range(14))
        assert len(on.parties.done) == POINTS + 1
        assert await wrong_rounds(on) == []


async def test_killed_at_random_moments(tmp_path: Path) -> None:
    async with stage(tmp_path, rounds=10_000) as on:
        assert await kill_at_random(on, RANDOM_KILLS) > 4  # two at the start and two at the end are not killed
        assert await wrong_rounds(on) == []
