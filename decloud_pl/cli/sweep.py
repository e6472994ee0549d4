"""Run sweeps: ``python -m decloud_pl -m task=experiment``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import datetime

from decloud_pl.cli.exit_codes import EXIT_INTERRUPTED
from decloud_pl.config.values import hydra_text
from decloud_pl.errors import TrainingError


def sweep(flags: Sequence[str], overrides: Sequence[str]) -> int:
    """Run a sweep with Hydra's flags and overrides, and print its table.

    Returns:
        0 if all experiments succeeded, the exit code of `TrainingError` if an experiment failed, or `EXIT_INTERRUPTED`
        if the user interrupted the sweep.

    Raises:
        ConfigError: a setting is invalid, or the task is not an experiment.
        DatasetError: a data set is missing and cannot be downloaded.
    """
    from decloud_pl.children import StopRequest
    from decloud_pl.cli.config.dataset_names import check_names
    from decloud_pl.cli.downloads import download_first
    from decloud_pl.cli.hydra_run import hand_over, shown_overrides
    from decloud_pl.cli.results import show
    from decloud_pl.config.layers import sources
    from decloud_pl.experiment.folders import new_folder
    from decloud_pl.experiment.results import SWEEPS, read_sweeps
    from decloud_pl.experiment.sweep import (
        checked_points,
        expanded,
        forget_secrets,
        job,
        refuse_addresses,
        refuse_folders,
    )
    from decloud_pl.rounds.planner import make_catalog

    given = sources(expanded(overrides, *sources().folders), sweep=True)
    refuse_addresses(given.overrides)
    refuse_folders(given.overrides)
    points = checked_points(given)
    first = points[0]
    settings = first.settings
    check_names(settings)
    for point in points:
        download_first(point.settings.dataset, make_catalog(point.settings))
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
