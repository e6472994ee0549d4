"""The process that scores a round's updates."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from decloud_pl.config import compose
from decloud_pl.rounds.planner import make_catalog
from tests.models import conftest as models

plug_in = models.plug_in


@pytest.mark.slow
@pytest.mark.usefixtures("plug_in")
def test_it_ends_after_its_time_even_if_nobody_waits_for_it(tmp_path: Path) -> None:
    catalog = make_catalog(compose([]))
    request = {
        "base": str(models.endless(tmp_path / "base")),
        "dataset": catalog.resolve("digits").node(catalog.data),
        "submissions": {},
        "gradient_rate": 0.1,
        "split": "test",
        "packages": [],
        "threads": 1,
        "nice": 0,
        "memory_bytes": 0,
        "seconds": 0,
    }
    command = [sys.executable, "-m", "decloud_pl.train.score"]
    ended = subprocess.run(command, input=json.dumps(request).encode(), capture_output=True, timeout=100, check=False)
    assert ended.returncode == -signal.SIGALRM, ended.stderr
