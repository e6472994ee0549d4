"""Measure the seconds of each notebook from a clean start: wall-clock time, and CPU time with all child processes."""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"
BUDGET = 90.0


def processor_seconds() -> float:
    """Return the CPU seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(path: Path) -> dict[str, float]:
    """Run a notebook in an empty folder."""
    notebook: Any = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    begun, used = time.monotonic(), processor_seconds()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DECLOUD_HOME"] = folder
        resources = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
    return {"seconds": time.monotonic() - begun, "cpu_seconds": processor_seconds() - used, "budget": BUDGET}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = {path.stem: measure(path) for path in sorted(FOLDER.glob("*.ipynb"))}
    if arguments.json:
        print(json.dumps(found))
    else:
        for name, figures in found.items():
            print(
                f"{name:<28} {figures['seconds']:5.1f} s, {figures['cpu_seconds']:5.1f} s of CPU, budget {BUDGET:g} s"
            )
    return 0 if all(figures["seconds"] <= BUDGET for figures in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
