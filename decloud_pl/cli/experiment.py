"""Run sweeps (``python -m decloud_pl -m task=experiment``), and print the results of experiments."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from decloud_pl.cli.exit_codes import EXIT_INTERRUPTED
from decloud_pl.config.values import hydra_text
from decloud_pl.errors import TrainingError

if TYPE_CHECKING:
    from decloud_pl.experiment.results import Result

NOT_MEASURED = "not measured"


def lines(result: Result) -> list[str]:
    """Return the lines that describe an experiment's result."""
    probe = [f"probe             {result.probe['note'].removeprefix('Probe: ')}"] if result.probe else []
    return [
        f"data set          {result.dataset}",
        f"model             {result.architecture}",
        f"accuracy before   {_percent(result.accuracy_before)}",
        f"accuracy after    {_percent(result.accuracy_after)}",
        f"gain              {NOT_MEASURED if result.gain is None else f'{result.gain * 100:+.2f} percentage points'}",
        *probe,
        f"update            {(result.update_bytes or 0) / 1000:,.0f} kB, {result.encoding}",
        f"time              {result.seconds or 0.0:.1f} s",
    ]


def _percent(accuracy: float | None) -> str:
    return NOT_MEASURED if accuracy is None else f"{accuracy * 100:.2f} %"


def show(results: Sequence[Result]) -> None:
    """Print a table of experiments, and the errors of those that failed.

    The table omits parameters that have the same value in all experiments.
    """
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


def sweep(flags: Sequence[str], overrides: Sequence[str]) -> int:
    """Run a sweep with Hydra's flags and overrides, and print its table.

    Returns:
        0 if all experiments succeeded, the exit code of `TrainingError` if an experiment failed, or `EXIT_INTERRUPTED`
        if the user interrupted the sweep.

    Raises:
        ConfigError: a setting is invalid, or the task is not an experiment.
    """
    from decloud_pl.children import StopRequest
    from decloud_pl.cli.config.dataset_names import check_names
    from decloud_pl.cli.downloads import download_first
    from decloud_pl.cli.hydra_flags import hand_over, shown_overrides
    from decloud_pl.config.layers import sources
    from decloud_pl.experiment.folders import new_folder
    from decloud_pl.experiment.results import SWEEPS, read_sweeps
    from decloud_pl.experiment.sweep import checked_points, expanded, forget_secrets, job, refuse_addresses
    from decloud_pl.rounds.planner import make_catalog

    given = sources(expanded(overrides, *sources().folders), sweep=True)
    refuse_addresses(given.overrides)
    first = checked_points(given)
    settings = first.settings
    check_names(
        settings.datasets, settings.mappings, settings.paths, settings.network.assumed_dialect, settings.own_conf
    )
    download_first(settings.dataset, make_catalog(settings))
    folder = new_folder(settings.home_path / SWEEPS, datetime.now())  # noqa: DTZ005  # named for people
    print(f"Sweeping in {folder}…", flush=True)
    forget_secrets(os.environ)
    interrupts = StopRequest(by_user=True)
    try:
        with interrupts:
            hand_over([*flags, f"hydra.sweep.dir={hydra_text(str(folder))}", *shown_overrides(given, first)], job)
    except (KeyboardInterrupt, SystemExit):
        if not interrupts.seen:
            raise
    results = read_sweeps(settings.home_path, folder.name)
    show(results)
    if interrupts.seen:
        print(f"decloud_pl: Interrupted. The finished experiments are in {folder}.", file=sys.stderr)
        return EXIT_INTERRUPTED
    return TrainingError.exit_code if any(result.error for result in results) else 0
