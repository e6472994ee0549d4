"""Results as a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from decloud_pl.errors import UsageError
from decloud_pl.experiment.results import Result, differing

COLUMNS = ("accuracy_before", "accuracy_after", "gain", "update_bytes", "seconds", "error")


def write_csv(results: Sequence[Result], path: Path) -> None:
    """One row for each experiment, one column for each parameter that is not the same in all.

    Raises:
        UsageError: the file cannot be written.
    """
    names = differing(list(results))
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["sweep", "run", *names, *COLUMNS])
            for result in results:
                values = result.to_dict()
                parameters = [result.parameters.get(name) for name in names]
                writer.writerow([result.sweep, result.run, *parameters, *(values[name] for name in COLUMNS)])
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.", fix="Choose another file.") from error
