"""Form fields for the user's choices on a page, and the query parameters of the URL that store these choices."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastapi import Request
from nicegui import ui

from decloud_pl.dashboard.tables import Column, Sorting

LONGEST_TEXT = 100


def choice(label: str, names: Sequence[str], value: str, changed: Callable[[], object]) -> ui.select:
    """Return a field in which the user selects one of ``names`` or the entry "all"."""
    options = {"": "all", **{name: name for name in names}}
    made = ui.select(options, label=label, value=value if value in options else "", on_change=changed)
    return made.props("dense outlined options-dense")


def text_field(label: str, value: str, changed: Callable[[], object]) -> ui.input:
    """Return a field for a line of text."""
    made = ui.input(label, value=value.strip()[:LONGEST_TEXT], on_change=changed)
    return made.props(f"dense outlined debounce=300 maxlength={LONGEST_TEXT} autocomplete=off")


def sorting_of(request: Request, columns: Sequence[Column], usual: str) -> Sorting:
    """Return the sort order and the page number in a request's URL.

    If the URL names no sortable column, the sort order uses the column ``usual``.
    """
    query = request.query_params
    order = query.get("sort", usual)
    known = any(column.name == order and column.sortable for column in columns)
    page = integer(query.get("page")) or 1
    return Sorting(order if known else usual, query.get("order", "") != "up", page)


def address_of(sorting: Sorting, usual: str) -> dict[str, object]:
    """Return the query parameters for a sort order and a page number. Default values become empty text."""
    return {
        "sort": sorting.order if sorting.order != usual else "",
        "order": "" if sorting.descending else "up",
        "page": sorting.page if sorting.page > 1 else "",
    }


def integer(text: str | None) -> int | None:
    """Parse a whole number of at most 18 digits, without a sign. Return None for any other text."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= 18 else None


def time_of(text: str | None) -> float | None:
    """Parse Unix seconds in a query parameter. Return None for any other text."""
    try:
        return float(text) if text else None
    except ValueError:
        return None
