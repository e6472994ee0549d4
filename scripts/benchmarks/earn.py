"""Compare what we earn with the usual loop in the same round and time, on the real Fashion-MNIST: scripts/bench earn.

Both sides train from the same base model for the same time, in turn. The validator's own code scores our update file,
and the rival's weights, on the whole test split. Then both updates compete in a round on a local network. Each finished
run is a line in the file of --results. A second call skips the runs that the file has, so parts can run alone and be
resumed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import earn_ablation
from earn_sides import Course, Sides
from earn_tasks import PAIRED, TASKS

BASES = {10: 0, 80: 300, 88: 1688}
"""Steps of the usual loop that lead to a base model with about this accuracy in percent."""
_PARTS = ("pairs", "first", "ablation")
_FIRST_SHARE = 0.35


@dataclass(frozen=True)
class Results:
    """The finished runs, one JSON line each."""

    path: Path

    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.is_file() else []

    def run(self, sides: Sides, course: Course) -> dict[str, Any]:
        """Return the result of a course, from the file or by running it now."""
        key = course.key()
        found = next((entry for entry in self.all() if entry["key"] == key), None)
        if found is None:
            found = {"key": key, **sides.run(course)}
            with self.path.open("a") as file:
                file.write(json.dumps(found) + "\n")
            print(json.dumps(found), file=sys.stderr, flush=True)
        return found


def main() -> int:
    arguments = parse(sys.argv[1:])
    measured = run(arguments)
    if arguments.json:
        print(json.dumps(measured, indent=2))
    else:
        for name, rows in measured.items():
            print(name)
            for row in rows if isinstance(rows, list) else [rows]:
                print(f"  {json.dumps(row)}")
    return 0 if all(measured["targets"].values()) else 1


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench earn", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--part", choices=_PARTS, action="append", help="only this part (may be repeated)")
    parser.add_argument("--bases", type=int, nargs="+", choices=list(BASES), help="base models; default: all")
    parser.add_argument("--seconds", type=float, nargs="+", default=[60, 120], help="durations of the rounds")
    parser.add_argument("--seeds", type=int, default=5, help="number of pairs")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: seconds of CPU time of each side with its processes, for a machine that others use too",
    )
    parser.add_argument("--threads", type=int, default=min(2, len(os.sched_getaffinity(0))), help="CPU threads")
    parser.add_argument("--task", choices=list(TASKS), default=PAIRED.name, help="data set or network of the ablation")
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="rows of the ablation, by name")
    default = Path(tempfile.gettempdir()) / "decloud-earn"
    parser.add_argument("--results", type=Path, default=default, help="folder of base models and finished runs")
    given = parser.parse_args(arguments)
    rows = list(earn_ablation.ROWS[given.task])
    if given.task == PAIRED.name:
        given.part, given.bases = given.part or list(_PARTS), given.bases or list(BASES)
    else:
        given.part, given.bases = given.part or ["ablation"], given.bases or [10]
        if given.part != ["ablation"] or given.bases != [10]:
            parser.error(f"--task {given.task} has only the part ablation and the base model 10")
    given.rows = given.rows or rows
    if unknown := sorted(set(given.rows) - set(rows)):
        parser.error(f"--task {given.task} has no row {unknown[0]!r}; choose from {', '.join(rows)}")
    return given


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    arguments.results.mkdir(parents=True, exist_ok=True)
    results = Results(arguments.results / "runs.jsonl")
    sides = Sides(arguments.results, BASES, clock=arguments.clock, threads=arguments.threads)
    measured: dict[str, Any] = {"clock": arguments.clock, "threads": arguments.threads, "load": os.getloadavg()[0]}
    targets: dict[str, bool] = {}
    if "pairs" in arguments.part:
        pairs = [_pair(results, sides, *one) for one in _pairs(arguments)]
        measured["pairs"] = pairs
        targets |= _targets(pairs)
    if "first" in arguments.part:
        measured["first"] = [_first(results, sides, seed) for seed in range(arguments.seeds)]
        targets["the rival's first epoch in 0.35 of its time"] = all(row["is_reached"] for row in measured["first"])
    if "ablation" in arguments.part:
        measured["ablation"] = earn_ablation.measure(
            lambda course: results.run(sides, course),
            arguments.task,
            rows=arguments.rows,
            base=arguments.bases[0],
            seconds=arguments.seconds[0],
            seeds=arguments.seeds,
        )
    measured["targets"] = targets
    return measured


def _pairs(arguments: argparse.Namespace) -> Iterator[tuple[int, float, int]]:
    # The first seed of all courses comes first, so that a part of the runs already shows all of them.
    for seed in range(arguments.seeds):
        for seconds in arguments.seconds:
            for base in arguments.bases:
                yield base, seconds, seed


def _pair(results: Results, sides: Sides, base: int, seconds: float, seed: int) -> dict[str, Any]:
    ours = results.run(sides, Course("ours", base, seconds, seed))
    rival = results.run(sides, Course("rival", base, seconds, seed))
    if ours.get("withheld"):
        share = 0.0
    else:
        share = results.run(sides, Course("round", base, seconds, seed))["shares"]["ours"] / 10_000
    return {
        "base": sides.base_accuracy(base),
        "seconds": seconds,
        "seed": seed,
        "ours": ours["accuracy"],
        "rival": rival["accuracy"],
        "lead": round(ours["accuracy"] - rival["accuracy"], 2),
        "share_of_pool": share,
        "our_note": ours["note"],
        "rival_epochs": rival["epochs"],
        "rival_curve": rival["curve"],
    }


def _first(results: Results, sides: Sides, seed: int) -> dict[str, Any]:
    """Compare our accuracy after a share of the rival's first epoch with the rival's accuracy after that epoch."""
    rival = results.run(sides, Course("epoch", 10, 0, seed))
    ours = results.run(sides, Course("ours", 10, round(_FIRST_SHARE * rival["seconds"], 1), seed))
    return {
        "seed": seed,
        "rival_seconds": rival["seconds"],
        "rival": rival["accuracy"],
        "our_seconds": ours["seconds"],
        "ours": ours["accuracy"],
        "is_reached": ours["accuracy"] >= rival["accuracy"],
    }


def _targets(pairs: list[dict[str, Any]]) -> dict[str, bool]:
    """Return the targets, and whether the pairs meet them."""
    found = {"never below the rival": all(pair["lead"] >= 0 for pair in pairs)}
    for seconds in sorted({pair["seconds"] for pair in pairs}):
        for base in sorted({pair["base"] for pair in pairs}):
            leads = [pair["lead"] for pair in pairs if (pair["seconds"], pair["base"]) == (seconds, base)]
            least = 1.5 if base < 50 else 1.0  # percent
            if leads:
                found[f"{least} points above the rival from {base:g} % in {seconds:g} s"] = (
                    statistics.mean(leads) >= least
                )
    for base, least in ((88, 0.6), (80, 0.53)):
        shares = [pair["share_of_pool"] for pair in pairs if abs(pair["base"] - base) <= 4]
        if shares:
            found[f"{least:.0%} of the pool from {base} %"] = min(shares) >= least
    found["more than the rival in every round"] = all(pair["share_of_pool"] > 0.5 for pair in pairs)
    return found


if __name__ == "__main__":
    sys.exit(main())
