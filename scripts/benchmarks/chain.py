"""Measure the daemon's robustness and cost (kills, soak, scale, latency): scripts/bench chain [--json].

Everything runs on a local network on this machine, with trainings that take no time. The scenarios of the fault proxy
are tests (tests/daemon/test_faults.py) and not part of this benchmark.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.harness.kills import kill_at_every_point, kill_at_random, stage, wrong_rounds  # noqa: E402
from tests.harness.scale import join_latencies, scale  # noqa: E402
from tests.harness.soak import soak  # noqa: E402

MOST_CPU_SECONDS = 3.0
MOST_MEMORY_MB = 150.0
MOST_GROWTH = 0.10
MOST_LATENCY_SECONDS = 0.3
SIZES = (2_500, 5_000, 10_000)
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "simple_cnn": ("simple_cnn", {}),
    "resnet 18": ("resnet", {"depth": 18}),
    "resnet 50": ("resnet", {"depth": 50}),
}
MODEL_ROUNDS = 7
PARTS = ("kills", "soak", "scale", "latency")


async def kills(folder: Path, random_kills: int) -> dict[str, Any]:
    """Send SIGKILL at every point where the daemon writes, and at random moments."""
    async with stage(folder / "points", rounds=18) as on:
        points = await kill_at_every_point(on)
        wrong = await wrong_rounds(on)
        rounds = len(on.parties.done)
    async with stage(folder / "random", rounds=100_000) as on:
        rounds += await kill_at_random(on, random_kills)
        wrong += await wrong_rounds(on)
    return {"points": len(points), "random": random_kills, "rounds": rounds, "wrong": len(wrong), "ok": not wrong}


async def soaked(folder: Path, rounds: int) -> dict[str, Any]:
    """Run many rounds through one daemon with random faults."""
    shown = await soak(folder, rounds=rounds, faults=0.01, seconds=3600)
    leaks = shown.processes or shown.leftovers or shown.files > 2
    good = shown.claimed == rounds and not shown.wrong and not leaks and shown.memory_growth < MOST_GROWTH
    return {**shown.to_dict(), "ok": good}


async def scaled(folder: Path) -> dict[str, Any]:
    """Measure one pass over the chain with increasing numbers of rounds."""
    found = await scale(folder, SIZES)
    last = found[-1]
    good = last.cpu_seconds < MOST_CPU_SECONDS and last.peak_mb < MOST_MEMORY_MB
    same = len({entry.requests for entry in found}) == 1
    return {"sizes": [entry.to_dict() for entry in found], "same_requests": same, "ok": good and same}


async def latency(folder: Path, rounds: int) -> dict[str, Any]:
    """Measure the time from a round's opening for trainers to the join on chain."""
    found = _shown(await join_latencies(folder / "cid", rounds))
    looked = {}
    for name, (architecture, hyper_parameters) in MODELS.items():
        seconds = await join_latencies(
            folder / name.replace(" ", "-"), MODEL_ROUNDS, architecture=architecture, hyper_parameters=hyper_parameters
        )
        looked[name] = _shown(seconds)
    return {**found, "with join.verify=model": looked, "ok": found["median_ms"] < MOST_LATENCY_SECONDS * 1000}


def _shown(seconds: list[float]) -> dict[str, float]:
    return {
        "rounds": len(seconds),
        "median_ms": round(median(seconds) * 1000, 1),
        "slowest_ms": round(max(seconds) * 1000, 1),
    }


async def measure(parts: list[str], *, random_kills: int, rounds: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in parts:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if part == "kills":
                found[part] = await kills(folder, random_kills)
            elif part == "soak":
                found[part] = await soaked(folder, rounds)
            elif part == "scale":
                found[part] = await scaled(folder)
            else:
                found[part] = await latency(folder, 30)
    found["ok"] = all(entry["ok"] for entry in found.values())
    return found


def main() -> int:
    """Print the figures; return 1 if a figure misses its goal."""
    parser = argparse.ArgumentParser(prog="scripts/bench chain", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--only", choices=PARTS, action="append", help="measure only this part (may be repeated)")
    parser.add_argument(
        "--kills", type=int, default=200, metavar="N", help="number of kills at random moments (default 200)"
    )
    parser.add_argument("--rounds", type=int, default=300, metavar="N", help="rounds of the soak (default 300)")
    arguments = parser.parse_args()
    parts = arguments.only or list(PARTS)
    found = asyncio.run(measure(parts, random_kills=arguments.kills, rounds=arguments.rounds))
    if arguments.json:
        print(json.dumps(found))
    else:
        for part in parts:
            print(f"{part}: {json.dumps(found[part])}")
    return 0 if found["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
