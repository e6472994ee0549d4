"""Plot the scores of a sweep's experiments against the parameters that the sweep varied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from decloud_pl.errors import UsageError
from decloud_pl.experiment.results import SPLITS, Result, differing, worded

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_BARS = 60


def plot(results: Sequence[Result]) -> Figure:
    """Draw a plot.

    The horizontal axis shows the numeric parameter with the most values. Each combination of the other parameters has
    its own line. If no parameter is a number, each experiment has a bar.

    Raises:
        UsageError: no result has a score.
    """
    scored = [result for result in results if result.accuracy_after is not None]
    if not scored:
        raise UsageError("The sweeps have no scores to plot.", fix="Run a sweep first.")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    draw(figure.subplots(), scored)
    return figure


def draw(axes: Axes, results: Sequence[Result]) -> None:
    """Draw results on the caller's axes as `plot` does. Every result must have a score."""
    names = differing(list(results))
    numbers = [name for name in names if all(_is_number(result.parameters.get(name)) for result in results)]
    if numbers:
        across = max(numbers, key=lambda name: len({result.parameters[name] for result in results}))
        _lines(axes, results, across, [name for name in names if name != across])
    else:
        _bars(axes, results[:_MOST_BARS], names)
    before = [result.accuracy_before for result in results if result.accuracy_before is not None]
    measured_on = " or ".join(dict.fromkeys(SPLITS[result.score_split] for result in results))
    axes.set_ylabel(f"accuracy on {measured_on}, %")
    if before:
        average = sum(before) / len(before)
        axes.axhline(average * 100, color="0.6", linestyle=":", label="base model")
    # The legend is above the axes, because lines may be anywhere inside.
    axes.legend(fontsize="small", loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False)
    axes.set_axisbelow(True)
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _lines(axes: Axes, results: Sequence[Result], across: str, others: Sequence[str]) -> None:
    groups: dict[str, list[tuple[float, float]]] = {}
    for result in results:
        label = ", ".join(worded(name, result.parameters.get(name)) for name in others) or "with the update"
        groups.setdefault(label, []).append((result.parameters[across], _percent(result)))
    for label, points in groups.items():
        axes.plot(*zip(*sorted(points), strict=True), marker="o", label=label)
    values = sorted({result.parameters[across] for result in results})
    if values[0] > 0 and values[-1] / values[0] >= 10:
        axes.set_xscale("log")
    texts = [f"{value:g}" for value in values]
    if len(values) <= 8 and all(len(text) <= 6 for text in texts):
        axes.set_xticks(values, texts)
        axes.minorticks_off()
    axes.set_xlabel(across)


def _bars(axes: Axes, results: Sequence[Result], names: Sequence[str]) -> None:
    labels = ["\n".join(_value(result, name) for name in names) or result.run for result in results]
    places = range(len(results))
    axes.bar(places, [_percent(result) for result in results], width=0.6, label="with the update")
    axes.set_xticks(places, labels, fontsize="small", rotation=0 if len(results) <= 6 else 90)
    axes.set_xlabel(", ".join(worded(name, "").rstrip("=") for name in names))


def _value(result: Result, name: str) -> str:
    return worded(name, result.parameters.get(name)).partition("=")[2]


def _percent(result: Result) -> float:
    return (result.accuracy_after or 0.0) * 100


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
