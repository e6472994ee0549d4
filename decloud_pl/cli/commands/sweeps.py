"""``decloud-trainer sweeps``: the experiments of all sweeps in one table."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from decloud_pl.cli.arguments import add_command, add_json

if TYPE_CHECKING:
    from decloud_pl.experiment.results import Result

_EXAMPLES = """\
decloud-trainer sweeps
decloud-trainer sweeps 2026-01-31_18-00-00 --plot sweep.png
decloud-trainer sweeps --csv results.csv

A sweep: python -m decloud_pl -m task=experiment optimizer.lr=1e-3,3e-3 epochs=1,2
Whole ones: python -m decloud_pl -m sweep=basic (or joblib, ray, submitit, optuna; your own in conf/sweep/)
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = add_command(commands, "sweeps", "compare the experiments of sweeps", _EXAMPLES)
    parser.add_argument("name", nargs="?", metavar="SWEEP", help="one sweep, by its folder's name (default: all)")
    add_json(parser)
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table to a file, one column a parameter")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the scores (.png, .pdf or .svg)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from decloud_pl.cli.ui.output import print_json
    from decloud_pl.experiment.results import SWEEPS, differing, read_sweeps
    from decloud_pl.settings import default_home

    home = default_home(os.environ)
    results = read_sweeps(home, arguments.name)
    if arguments.csv is not None:
        from decloud_pl.experiment.table import write_csv

        write_csv(results, arguments.csv)
    if arguments.plot is not None:
        from decloud_pl.experiment.plot import plot

        plot(results, arguments.plot)
    if arguments.json:
        print_json(
            {
                "folder": str(home / SWEEPS),
                "differing": differing(results),
                "runs": [result.to_dict() for result in results],
            }
        )
    elif not results:
        print(f"There are no sweeps in {home / SWEEPS}.")
    else:
        show(results)
    return 0


def show(results: Sequence[Result]) -> None:
    """Prints the table; of each experiment what is not the same in all."""
    from decloud_pl.cli.ui.output import print_table
    from decloud_pl.experiment.results import differing, worded

    names = differing(list(results))
    several = len({result.sweep for result in results}) > 1
    rows = []
    for result in results:
        where = f"{result.sweep}/{result.run}" if several else result.run
        given = " ".join(worded(name, result.parameters.get(name)) for name in names)
        rows.append([where, given or "-", *_scores(result)])
    print_table(["run", "parameters", ">before %", ">after %", ">gain", ">kB"], rows, flexible=1)
    for result in results:
        if result.error:
            print(f"\n{result.sweep}/{result.run}: {result.error}")


def _scores(result: Result) -> list[str]:
    if result.accuracy_before is None or result.accuracy_after is None or result.gain is None:
        return ["-", "failed", "-", "-"]
    size = f"{(result.update_bytes or 0) / 1000:,.0f}"
    return [
        f"{result.accuracy_before * 100:.2f}",
        f"{result.accuracy_after * 100:.2f}",
        f"{result.gain * 100:+.2f}",
        size,
    ]
