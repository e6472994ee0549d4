"""scripts/bench score on a small network: the gate's interval covers the validator's result."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "scripts" / "benchmarks"
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


@pytest.mark.skipif(not FASHION_MNIST.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_the_validators_result_lies_in_the_gates_interval(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """30 rounds with different seeds on Fashion-MNIST, scored by the validator's code on the whole test split."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    bench: Any = importlib.import_module("score")
    model = ("--architecture", "mlp", "--image-size", "8")
    small = ("--no-quarantine", "--threads", "1", "--steps", "48", "--base-steps", "160", "--folder", str(tmp_path))
    found = bench.run(bench.parse([*model, *small, "--rounds", "30"]))
    assert len({entry["seed"] for entry in found["each"]}) == found["rounds"] == 30
    assert found["covered"] >= 27, found["each"]
    # A very wide interval would cover the result too, so the width is limited.
    assert found["mean_width_points"] < 5
    measured = [entry["measured"] for entry in found["each"]]
    assert max(measured) > 40
    assert sum(abs(points) < 3 for points in measured) >= 10
    # The gate submits what pays: at least 97 % of what an oracle earns, and more than by certain gains alone.
    assert found["targets"]["of the oracle's reward >= 97%"]
    assert found["submitted_below_cost"] == 0
    assert found["by_min_gain_0"]["without_gain"] == 0
    assert found["by_min_gain_0"]["of_the_oracles_reward"] <= found["by_expected_reward"]["of_the_oracles_reward"]
    # The rounds are kept, so that the next run measures only further ones.
    kept = (tmp_path / "rounds.jsonl").read_bytes()
    assert bench.run(bench.parse([*model, *small, "--rounds", "30"]))["each"] == found["each"]
    assert (tmp_path / "rounds.jsonl").read_bytes() == kept
