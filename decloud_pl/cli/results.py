"""Print the results of experiments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decloud_pl.experiment.results import Result

NOT_MEASURED = "not measured"


def lines(result: Result) -> list[str]:
    """Return the lines that describe an experiment's result."""
    from decloud_pl.experiment.results import SPLITS

    measured = [] if result.gain is None else [f"measured on       {SPLITS[result.score_split]}"]
    probe = [f"probe             {result.probe['note'].removeprefix('Probe: ')}"] if result.probe else []
    return [
        f"data set          {result.dataset}",
        f"model             {result.architecture}",
        *measured,
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

    The table omits parameters that have the same value in all experiments. It names the split of the accuracies only
    if a score is not of the test split.
    """
    from decloud_pl.cli.ui.output import print_table
    from decloud_pl.experiment.results import differing, worded

    names = differing(list(results))
    splits = {result.score_split for result in results if result.gain is not None}
    several = len({result.sweep for result in results}) > 1
    rows = []
    for result in results:
        where = f"{result.sweep}/{result.run}" if several else result.run
        given = " ".join(worded(name, result.parameters.get(name)) for name in names)
        split = ["-" if result.gain is None else result.score_split] if "held_out" in splits else []
        rows.append([where, given or "-", *_scores(result), *split])
    headings = ["run", "parameters", ">before %", ">after %", ">gain", ">kB"]
    print_table([*headings, "split"] if "held_out" in splits else headings, rows, flexible=1)
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
