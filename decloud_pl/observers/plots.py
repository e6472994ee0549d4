"""Plots of trainings and earnings. ``python -m decloud_pl.observers.plots FOLDER`` plots the curves of one report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from decloud_pl.domain import LAMPORTS_PER_SOL, format_rounds
from decloud_pl.durable import appearing
from decloud_pl.errors import UsageError
from decloud_pl.observers.reports import CURVES_FILE, METRICS_FILE, MetricsRow, read_metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE, _ORANGE = "#0969da", "#bc4c00"
_STEPS_PER_DOT = 200


def curves(metrics: Sequence[MetricsRow], title: str) -> Figure:
    """Plot loss and accuracy over optimizer steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    line = losses(metrics)
    if line:
        axes.plot(*zip(*line, strict=True), color=_BLUE, linewidth=1.2, label="loss")
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss", color=_BLUE)
    axes.grid(visible=True, alpha=0.3)
    _accuracy(axes.twinx(), metrics)
    return figure


def losses(metrics: Sequence[MetricsRow]) -> list[tuple[int, float]]:
    """Return (optimizer step, loss) of the training. Trials and the last fit count steps of their own."""
    return [(metric.step, metric.loss) for metric in metrics if metric.stage == "fit" and metric.loss is not None]


def accuracies(metrics: Sequence[MetricsRow]) -> list[tuple[int, float]]:
    """Return (optimizer step, accuracy) of each measurement.

    A measurement of the base model gets step 0. Every other measurement gets the last training step before it.
    """
    found: list[tuple[int, float]] = []
    step = 0
    for metric in metrics:
        step = metric.step if metric.stage == "fit" and metric.step else step
        if metric.accuracy is not None:
            found.append((0 if metric.stage == "baseline" else step, metric.accuracy))
    return found


def _accuracy(axes: Axes, metrics: Sequence[MetricsRow]) -> None:
    points = accuracies(metrics)
    if points:
        axes.plot(
            [step for step, _ in points], [value * 100 for _, value in points], "o-", color=_ORANGE, label="accuracy"
        )
    axes.set_ylim(0, 100)
    axes.set_ylabel("accuracy (%)", color=_ORANGE)


def earnings(claims: Sequence[tuple[float, int]], path: Path) -> None:
    """Plot the cumulative rewards over time.

    Args:
        claims: (Unix time, lamports) of each claim, in chronological order.
        path: the image file. Its suffix sets the format.

    Raises:
        UsageError: ``claims`` is empty, the format is unknown, or the file cannot be written.
    """
    from matplotlib.figure import Figure

    if not claims:
        raise UsageError("There are no earnings to plot yet.", fix="Claim a reward first.")
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    total, totals = 0, []
    for _, lamports in claims:
        total += lamports
        totals.append(total / LAMPORTS_PER_SOL)
    times = [datetime.fromtimestamp(at, tz=UTC).astimezone() for at, _ in claims]
    axes.step(times, totals, where="post", color=_BLUE, marker="o" if len(claims) < _STEPS_PER_DOT else None)  # type: ignore[arg-type]  # matplotlib accepts dates
    axes.set_ylim(bottom=0)
    axes.set_ylabel("SOL claimed")
    axes.set_title(f"Earned {total / LAMPORTS_PER_SOL:.9g} SOL in {format_rounds(len(claims))}")
    axes.grid(visible=True, alpha=0.3)
    figure.autofmt_xdate()
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write an image file atomically.

    Raises:
        UsageError: the format is unknown or the file cannot be written.
    """
    try:
        with appearing(path) as scratch:
            figure.savefig(scratch, format=path.suffix.lstrip(".") or "png", dpi=120)
    except ValueError as error:
        raise UsageError(
            f"{path} has an unknown image format.", fix="Use a name that ends in .png, .svg or .pdf."
        ) from error
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.", fix="Choose another path.") from error


def main(arguments: list[str]) -> None:
    folder = Path(arguments[0])
    save(curves(read_metrics(folder / METRICS_FILE), f"Round {folder.name}"), folder / CURVES_FILE)


if __name__ == "__main__":
    main(sys.argv[1:])
