"""Measure the CPU seconds of commands that must be fast: user and system time, the minimum of several runs.

The budgets hold on a machine that imports Hydra in 0.12 s. On another machine, compare the multiples of that import.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile

BUDGETS = {"--help": 0.15, "config --show": 0.45, "list": 0.75}
"""In seconds. ``list`` is measured against a local network with only one round."""
_HYDRA = 0.12

# httpcore imports trio if it is installed, and Hydra imports every plugin. A plain installation has neither; here, the
# tests bring them.
_AS_INSTALLED = """
import sys, types
sys.modules["trio"] = None
sys.modules["hydra_plugins"] = types.ModuleType("hydra_plugins")
sys.modules["hydra_plugins"].__path__ = []
from decloud_pl.cli import main
sys.exit(main(sys.argv[1:]))
"""


def cpu_seconds(script: str, *arguments: str, environ: dict[str, str]) -> float:
    """Return the CPU seconds of one run of a script."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", script, *arguments]
    subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, metavar="N")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "decloud_pl.cli", "localnet", "--json", "--rounds", "1"]
        command += ["--rpc-port", "0", "--gateway-port", "0", "--home", f"{home}/network"]
        network = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            url = json.loads(network.stdout.readline() if network.stdout else "")["rpc_url"]
            environ = {**os.environ, "DECLOUD_HOME": home, "DECLOUD_NETWORK_RPC_URL": url}
            least = dict.fromkeys(BUDGETS, math.inf)
            hydra = math.inf
            for _ in range(arguments.runs):  # in turn, so that all of them meet the same load
                hydra = min(hydra, cpu_seconds("import hydra", environ=environ))
                for name in BUDGETS:
                    least[name] = min(least[name], cpu_seconds(_AS_INSTALLED, *name.split(), environ=environ))
        finally:
            network.terminate()
            network.wait()
    rows = {
        name: {"cpu_seconds": seconds, "of_hydra": seconds / hydra, "budget": BUDGETS[name] / _HYDRA}
        for name, seconds in least.items()
    }
    if arguments.json:
        print(json.dumps({"hydra_cpu_seconds": hydra, **rows}))
    else:
        print(f"importing Hydra takes {hydra:.3f} s of CPU here")
        for name, row in rows.items():
            times = f"{row['of_hydra']:.1f} times that, budget {row['budget']:.1f}"
            print(f"{name:<14} {row['cpu_seconds']:.3f} s of CPU, {times}")
    return 0 if all(row["of_hydra"] <= row["budget"] for row in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
