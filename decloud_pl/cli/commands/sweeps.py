"""Compare the experiments of sweeps.

Examples:
  decloud-trainer sweeps
  decloud-trainer sweeps 2026-01-31_18-00-00 --plot sweep.png
  decloud-trainer sweeps --csv results.csv

Run a sweep: python -m decloud_pl -m task=experiment optimizer.lr=1e-3,3e-3 epochs=1,2
Run a preset: python -m decloud_pl -m sweep=basic (or joblib, ray, submitit, optuna; your own in conf/sweep/)
"""

from __future__ import annotations

from pathlib import Path

import click

from decloud_pl.cli.arguments import FILE, as_json, command


@command(__doc__)
@click.argument("name", required=False, metavar="[SWEEP]", help="the folder's name of one sweep (default: all)")
@as_json
@click.option("--csv", type=FILE, metavar="FILE", help="write the table to a file, with a column per parameter")
@click.option("--plot", "picture", type=FILE, metavar="FILE", help="draw the scores (.png, .pdf or .svg)")
def run(name: str | None, as_json: bool, csv: Path | None, picture: Path | None) -> int:
    from decloud_pl.cli.results import show
    from decloud_pl.cli.ui.output import print_json
    from decloud_pl.config import default_home
    from decloud_pl.experiment.results import SWEEPS, differing, read_sweeps

    home = default_home()
    results = read_sweeps(home, name)
    if csv is not None:
        from decloud_pl.experiment.results import write_csv

        write_csv(results, csv)
    if picture is not None:
        from decloud_pl.experiment.plot import plot
        from decloud_pl.observers.plots import save

        save(plot(results), picture)
    if as_json:
        print_json(
            {
                "folder": str(home / SWEEPS),
                "differing": differing(results),
                "runs": [result.to_dict() for result in results],
            }
        )
    elif not results:
        print(f"{home / SWEEPS} contains no sweeps yet.")
    else:
        show(results)
    return 0
