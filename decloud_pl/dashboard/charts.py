"""Charts of trainings and earnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nicegui import ui

from decloud_pl.dashboard.tables import Text
from decloud_pl.dashboard.views import Curves, Points
from decloud_pl.domain import LAMPORTS_PER_SOL

_SHORTEST_SPAN = 600.0
"""Seconds. With a shorter span, a single claim would appear on an axis of years."""
_DAYS = 2 * 86_400
_LOSS, _ACCURACY, _EARNED = "#3b82f6", "#ea6a0c", "#22a050"
_QUIET = "#8b949e"
# A dot for each line, because the default icon of a line looks like a dash.
_LEGEND = {"top": 0, "icon": "circle", "itemWidth": 10, "itemHeight": 10, "textStyle": {"color": _QUIET}}


class Chart:
    """A chart with a description for screen readers. The server sends it again only after its data has changed.

    Args:
        kind: the name of the chart in the page, as the value of ``data-chart``.
        caption: the text above the chart.
    """

    def __init__(self, kind: str, caption: str) -> None:
        with ui.element("figure"):
            self.caption = Text("figcaption", caption)
            self._none = Text("p", "No data yet.").classes("empty")
            self._chart = ui.echart(_options(), renderer="svg").classes("chart").props("role=img")
        self._chart.props["data-chart"] = kind
        self._chart.visible = False
        self._shown: object = None

    def _draw(self, data: object, words: str, options: Mapping[str, Any]) -> None:
        if data == self._shown:
            return
        self._shown = data
        self._none.visible = not words
        self._chart.visible = bool(words)
        if words:
            self._chart.options.update(options)
            self._chart.props["aria-label"] = words
            self._chart.update()


class CurvesChart(Chart):
    """Loss and accuracy over optimizer steps."""

    def __init__(self, *, names_round: bool) -> None:
        super().__init__("curves", "Training")
        self._names_round = names_round

    def show(self, curves: Curves) -> None:
        parts = []
        if curves.loss:
            step, loss = curves.loss[-1]
            parts.append(f"loss {loss:.3f} at step {step:.0f}")
        if curves.accuracy:
            step, accuracy = curves.accuracy[-1]
            parts.append(f"accuracy {accuracy * 100:.1f} % at step {step:.0f}")
        if self._names_round and curves.round_id is not None:
            self.caption.text = f"Training of round {curves.round_id}"
        lines = {
            "Loss": [(step, round(loss, 4)) for step, loss in curves.loss],
            "Accuracy, %": [(step, round(part * 100, 2)) for step, part in curves.accuracy],
        }
        options = {
            "legend": {**_LEGEND, "data": [name for name, points in lines.items() if points]},
            "xAxis": {**_axis("value"), "name": "optimizer step", "nameLocation": "middle", "nameGap": 28},
            "yAxis": [
                {**_axis("value"), "min": 0},
                {**_axis("value"), "min": 0, "max": 100, "splitLine": {"show": False}},
            ],
            "series": [
                _line("Loss", _LOSS, lines["Loss"]),
                {
                    **_line("Accuracy, %", _ACCURACY, lines["Accuracy, %"]),
                    "yAxisIndex": 1,
                    "showSymbol": True,
                    "symbolSize": 7,
                },
            ],
        }
        self._draw(curves, f"Training curves: {', '.join(parts)}" if parts else "", options)


class EarningsChart(Chart):
    """The sum of earned SOL over time."""

    def __init__(self) -> None:
        super().__init__("earnings", "Earned over time")

    def show(self, points: Points) -> None:
        words = ""
        options: dict[str, Any] = {}
        if points:
            first, last = points[0][0], points[-1][0]
            if last - first < _SHORTEST_SPAN:
                first, last = first - _SHORTEST_SPAN / 2, last + _SHORTEST_SPAN / 2
            words = f"Earned over time: {points[-1][1] / LAMPORTS_PER_SOL:g} SOL in total"
            form = "{yyyy}-{MM}-{dd}" if last - first > _DAYS else "{HH}:{mm}"
            axis = _axis("time")
            axis["axisLabel"] = {**axis["axisLabel"], "formatter": form, "hideOverlap": True}
            line = [(at * 1000, lamports / LAMPORTS_PER_SOL) for at, lamports in points]
            options = {
                "xAxis": {**axis, "min": first * 1000, "max": last * 1000},
                "yAxis": {**_axis("value"), "min": 0, "name": "SOL", "nameTextStyle": {"color": _QUIET}},
                "series": [{**_line("Earned, SOL", _EARNED, line), "step": "end", "showSymbol": len(line) < 50}],
            }
        self._draw(points, words, options)


def _options() -> dict[str, Any]:
    return {
        "animation": False,
        "grid": {"left": 8, "right": 24, "top": 34, "bottom": 24, "containLabel": True},
        "tooltip": {"trigger": "axis"},
        "xAxis": _axis("value"),
        "yAxis": _axis("value"),
        "series": [],
    }


def _axis(kind: str) -> dict[str, Any]:
    """Return an axis in greys that are readable in light and dark mode, because charts do not follow the mode."""
    return {
        "type": kind,
        "axisLabel": {"color": _QUIET},
        "axisLine": {"lineStyle": {"color": _QUIET}},
        "nameTextStyle": {"color": _QUIET},
        "splitLine": {"lineStyle": {"color": _QUIET, "opacity": 0.25}},
    }


def _line(name: str, colour: str, data: Sequence[tuple[float, float]]) -> dict[str, Any]:
    return {
        "name": name,
        "type": "line",
        "data": data,
        "showSymbol": False,
        "itemStyle": {"color": colour},
        "lineStyle": {"width": 1.5},
    }
