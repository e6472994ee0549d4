"""scripts/bench view works with a small training and a small journal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "scripts" / "benchmarks" / "view.py"


def test_watching_and_pages_are_measured() -> None:
    command = [sys.executable, str(BENCH), "--json", "--epochs", "2", "--rounds", "200"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode in (0, 1), (
        done.stderr
    )  # 1 is a missed goal, which is likely with few steps on a busy machine
    figures = json.loads(done.stdout)
    assert figures["dashboard"]["rounds"] == 200
    assert 0 < figures["dashboard"]["first_page_s"] < 5
    assert 20 < figures["dashboard"]["resident_mb"] < 200
    assert figures["watching"]["turns"] >= 4
    assert figures["watching"]["watched_steps_per_s"] > 0
    assert figures["watching"]["unwatched_steps_per_s"] > 0
