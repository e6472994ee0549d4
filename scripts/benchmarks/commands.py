"""Measure the CPU seconds of commands that must be fast: user and system time, the minimum of several runs."""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile

BUDGETS = {"--help": 0.3, "config --show": 0.3, "list": 0.6}
"""In seconds. ``list`` is measured against a local network with only one round."""

# httpcore imports trio if it is installed. Users of this package do not have it; here, the tests' selenium brings it.
_AS_INSTALLED = """
import sys
sys.modules["trio"] = None
from decloud_pl.cli import main
sys.exit(main(sys.argv[1:]))
"""


def cpu_seconds(arguments: list[str], environ: dict[str, str]) -> float:
    """Return the CPU seconds of one run of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", _AS_INSTALLED, *arguments]
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
            least = {name: min(cpu_seconds(name.split(), environ) for _ in range(arguments.runs)) for name in BUDGETS}
        finally:
            network.terminate()
            network.wait()
    if arguments.json:
        print(json.dumps({name: {"cpu_seconds": least[name], "budget": BUDGETS[name]} for name in BUDGETS}))
    else:
        for name, seconds in least.items():
            print(f"{name:<14} {seconds:.3f} s of CPU, budget {BUDGETS[name]} s")
    return 0 if all(least[name] <= BUDGETS[name] for name in BUDGETS) else 1


if __name__ == "__main__":
    sys.exit(main())
