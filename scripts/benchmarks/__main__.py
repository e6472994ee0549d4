"""``scripts/bench NAME [--json] …``: one module per benchmark, listed in `BENCHMARKS`."""

from __future__ import annotations

import argparse
import importlib
import json
import sys

# Each module has `add_arguments(parser)` and `run(arguments)`, which returns what it measured.
BENCHMARKS = {"training": "the training's speed, accuracy, memory and start, against the usual loop"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench")
    commands = parser.add_subparsers(dest="name", required=True)
    for name, text in BENCHMARKS.items():
        command = commands.add_parser(name, help=text)
        command.add_argument("--json", action="store_true", help="one JSON document on standard output")
        importlib.import_module(name).add_arguments(command)
    arguments = parser.parse_args()
    measured = importlib.import_module(arguments.name).run(arguments)
    if arguments.json:
        print(json.dumps(measured, indent=2))
    else:
        for key, value in measured.items():
            print(f"{key:<36} {value}")
    return 0 if all(measured.get("targets", {}).values()) else 1


if __name__ == "__main__":
    sys.exit(main())
