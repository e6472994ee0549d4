"""Measure the cost of reading a chain with 10,000, 100,000 and 1,000,000 rounds: scripts/bench growth [--json].

A fake server (tests/harness/vast.py) creates the accounts on request: one round per minute, and the latest 100 rounds
are open. The daemon's figures exclude the imports, because its process is forked from one that has imported everything.
The figures of `list` are those of the whole command.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.harness.nursery import Nursery  # noqa: E402
from tests.harness.trainer import Spec  # noqa: E402
from tests.harness.vast import VastChain  # noqa: E402

SIZES = (10_000, 100_000, 1_000_000)
MOST_DIFFERENCE = 0.2
NOWHERE = "127.0.0.1:9"
_LIST = """
import json, resource, sys
from pathlib import Path
from decloud_pl.cli import main
if main(sys.argv[1:]):
    sys.exit(1)
usage = resource.getrusage(resource.RUSAGE_SELF)
# Not ru_maxrss, which starts at the memory of the parent that this process was forked from.
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
print(json.dumps([usage.ru_utime + usage.ru_stime, int(peak.split()[1]) / 1024]))
"""


@dataclass(frozen=True)
class Cost:
    """The cost of an operation.

    Attributes:
        cpu_seconds: the CPU seconds of the process.
        peak_mb: the peak of the process's resident memory.
        requests: the number of requests to the chain.
        kilobytes: the size of the answers.
    """

    cpu_seconds: float
    peak_mb: float
    requests: int
    kilobytes: float


async def daemon(chain: VastChain, home: Path, nursery: Nursery) -> dict[str, Cost]:
    """Measure a daemon's comparison with the chain at its start, and the hourly one."""
    spec = Spec(chain.url, [f"ws://{NOWHERE}"], f"http://{NOWHERE}", str(home / "store"), str(home), seed=1)
    chain.taken()
    await nursery.start(spec, reconcile_only=True)
    measured = await nursery.answer()
    if await nursery.ended():
        raise RuntimeError("the daemon failed")
    methods, sent = chain.taken()
    requests, kilobytes = sum(methods.values()) // 2, sent / 2000  # both scans send the same requests
    return {
        "start": Cost(measured["start_cpu_seconds"], measured["peak_mb"], requests, kilobytes),
        "hourly scan": Cost(measured["cpu_seconds"], measured["peak_mb"], requests, kilobytes),
    }


async def listed(chain: VastChain, home: Path, _: Nursery) -> dict[str, Cost]:
    """Measure the command `list --status training`."""
    chain.taken()
    arguments = ["list", "--status", "training", f"network.rpc_url={chain.url}"]
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _LIST, *arguments),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "DECLOUD_HOME": str(home)},
    )
    out = (await child.communicate())[0]
    if child.returncode:
        raise RuntimeError("list failed")
    methods, sent = chain.taken()
    cpu, peak = json.loads(out.splitlines()[-1])
    return {"list --status training": Cost(cpu, peak, sum(methods.values()), sent / 1000)}


Part = Callable[[VastChain, Path, Nursery], Coroutine[Any, Any, dict[str, Cost]]]


async def measure(repeats: int) -> dict[str, Any]:
    found: dict[str, dict[int, Cost]] = {}
    nursery = Nursery()
    samples: dict[tuple[str, int], list[Cost]] = {}
    parts: tuple[Part, ...] = (daemon, listed)
    try:
        for repeat in range(repeats):  # the sizes take turns, so that other load on the machine affects all of them
            for size in SIZES:
                with tempfile.TemporaryDirectory() as name:
                    async with VastChain(size) as chain:
                        for part in parts:
                            folder = Path(name) / f"{part.__name__}-{repeat}"
                            for key, cost in (await part(chain, folder, nursery)).items():
                                samples.setdefault((key, size), []).append(cost)
    finally:
        nursery.close()
    for (key, size), costs in samples.items():
        cpu, peak = median(cost.cpu_seconds for cost in costs), median(cost.peak_mb for cost in costs)
        middle = Cost(round(cpu, 4), round(peak, 1), costs[0].requests, round(costs[0].kilobytes, 1))
        found.setdefault(key, {})[size] = middle
    differences = {key: _differences(list(by_size.values())) for key, by_size in found.items()}
    return {
        **{key: {size: asdict(cost) for size, cost in by_size.items()} for key, by_size in found.items()},
        "differences": differences,
        "ok": all(value <= MOST_DIFFERENCE for values in differences.values() for value in values.values()),
    }


def _differences(costs: list[Cost]) -> dict[str, float]:
    """Return by how much the largest cost exceeds the smallest, as a share of the smallest, for each figure."""
    rows = [asdict(cost) for cost in costs]
    return {name: round(max(row[name] for row in rows) / min(row[name] for row in rows) - 1, 3) for name in rows[0]}


def main() -> int:
    """Print the figures; return 1 if a figure differs by more than 20 % between two sizes."""
    parser = argparse.ArgumentParser(prog="scripts/bench growth", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--repeats", type=int, default=7, metavar="N", help="number of measurements for each median (default 7)"
    )
    arguments = parser.parse_args()
    found = asyncio.run(measure(arguments.repeats))
    if arguments.json:
        print(json.dumps(found))
    else:
        for key, value in found.items():
            print(f"{key}: {json.dumps(value)}")
    return 0 if found["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
