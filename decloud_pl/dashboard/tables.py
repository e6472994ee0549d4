"""Tables that the server sorts and divides into pages.

When anything on the web page changes, NiceGUI's own table draws all its cells and headings again, and the keyboard
focus gets lost. In these tables, every cell is an element, and the server sends only the cells that change.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from decloud_pl.dashboard.views import PAGE_SIZE

_SIDE_BY_SIDE = 4
"""The number of columns that fit on a narrow screen. A row with more becomes a list of cells with their headings."""


class Text(TextElement):
    """An HTML element with text. NiceGUI sends a text to the browser only if it has changed."""

    def __init__(self, tag: str, text: str = "") -> None:
        super().__init__(tag=tag, text=text)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. ``name`` is the key of its cells, and ``label`` is its heading."""

    name: str
    label: str
    sortable: bool = False
    classes: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """The content of a cell.

    Attributes:
        text: the text.
        href: makes the text a link.
        state: shows the text as a badge in the style of this round state.
        share: draws a progress bar before the text, filled to this share from 0 to 1.
        label: the description of the progress bar for screen readers.
    """

    text: str
    href: str | None = None
    state: str | None = None
    share: float | None = None
    label: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table. ``key`` is unique in the table, and ``cells`` maps the name of each column to a cell."""

    key: object
    cells: Mapping[str, Cell]


@dataclass(slots=True)
class Sorting:
    """The column and the direction that a table is sorted by, and the number of the page that the table shows."""

    order: str
    descending: bool = True
    page: int = 1

    def choose(self, name: str) -> None:
        """Sort by a column, or reverse the order if that column is already chosen. Return to page 1."""
        self.descending = not self.descending if name == self.order else True
        self.order, self.page = name, 1


Changed = Callable[[], Awaitable[None]]


class Table:
    """A table that scrolls sideways. On a narrow screen, the rows of a wide table become lists.

    Args:
        columns: the columns from left to right.
        name: CSS classes of the frame.
        label: the description for screen readers.
        empty: the sentence to show if there are no rows.
        sorting: the sort order, which a click on a heading changes.
        changed: called after a change of the sort order.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        name: str,
        label: str,
        empty: str,
        sorting: Sorting | None = None,
        changed: Changed | None = None,
    ) -> None:
        self._columns = columns
        self._sorting = sorting
        self._changed = changed
        self._shown: dict[object, tuple[ui.element, dict[str, _Place]]] = {}
        self._headings: dict[str, tuple[ui.element, Text]] = {}
        many = " many" if len(columns) > _SIDE_BY_SIDE else ""
        self._frame = ui.element("div").classes(f"table {name}{many}").props("role=region tabindex=0")
        self._frame.props["aria-label"] = label
        with self._frame, ui.element("table"):
            Text("caption", label).classes("unseen")
            with ui.element("thead"), ui.element("tr"):
                for column in columns:
                    self._head(column)
            self._body = ui.element("tbody")
        self._empty = Text("p", empty).classes(f"empty {name}")
        self.show([])

    def show(self, rows: Sequence[Row]) -> None:
        """Show rows, and change only the cells that differ from before."""
        self._mark_sorting()
        self._frame.visible, self._empty.visible = bool(rows), not rows
        wanted = {row.key for row in rows}
        for key in [key for key in self._shown if key not in wanted]:
            self._shown.pop(key)[0].delete()
        for index, row in enumerate(rows):
            if row.key not in self._shown:
                with self._body:
                    line = ui.element("tr")
                with line:
                    self._shown[row.key] = (line, {column.name: _Place(column) for column in self._columns})
            line, places = self._shown[row.key]
            if self._body.default_slot.children[index] is not line:
                line.move(target_index=index)
            for column in self._columns:
                places[column.name].show(row.cells[column.name])

    def _head(self, column: Column) -> None:
        with ui.element("th").props("scope=col") as place:
            if column.sortable and self._sorting is not None:
                with Text("button", column.label).props("type=button").classes("sort") as button:
                    arrow = Text("span").props("aria-hidden=true")
                button.on("click", lambda: self._choose(column.name))
                self._headings[column.name] = (place, arrow)
            else:
                Text("span", column.label)

    async def _choose(self, name: str) -> None:
        if self._sorting is not None and self._changed is not None:
            self._sorting.choose(name)
            await self._changed()

    def _mark_sorting(self) -> None:
        for name, (place, arrow) in self._headings.items():
            chosen = self._sorting is not None and self._sorting.order == name
            descending = self._sorting is not None and self._sorting.descending
            direction = ("descending" if descending else "ascending") if chosen else None
            if place.props.get("aria-sort") != direction:
                place.props.set_optional("aria-sort", direction)
            arrow.text = (" ↓" if descending else " ↑") if chosen else ""


class PagedTable:
    """A `Table` that shows one page of rows, with the total number of rows above it and a page selector below it.

    Args:
        columns: the columns from left to right.
        sorting: the sort order and the page, which a click on a heading or a page number changes.
        changed: called after such a change.
        name: CSS classes of the frame.
        label: the description for screen readers.
        empty: the sentence to show if there are no rows.
    """

    def __init__(
        self, columns: Sequence[Column], sorting: Sorting, changed: Changed, *, name: str, label: str, empty: str
    ) -> None:
        self._sorting = sorting
        self._changed = changed
        self._words = Text("p").props("aria-live=polite").classes("count")
        self._table = Table(columns, name=name, label=label, empty=empty, sorting=sorting, changed=changed)
        self._pages = ui.pagination(1, 1, value=1, on_change=self._turn).props(
            "max-pages=6 boundary-numbers active-design=outline"
        )
        self._pages.props["aria-label"] = f"Pages of: {label}"

    def show(self, rows: Sequence[Row], *, count: int, page: int, noun: str) -> None:
        """Show a page of rows.

        Args:
            rows: the rows of this page.
            count: the number of rows on all pages.
            page: the number of this page, from 1.
            noun: the singular name of a row.
        """
        pages = max(1, -(-count // PAGE_SIZE))
        self._sorting.page = page
        plural = "s" if count != 1 else ""
        self._words.text = f"{count} {noun}{plural}" + (f", page {page} of {pages}" if pages > 1 else "")
        self._table.show(rows)
        if self._pages.max != pages:
            self._pages.max = pages
        self._pages.value = page
        self._pages.visible = pages > 1

    async def _turn(self) -> None:
        if self._pages.value and self._pages.value != self._sorting.page:
            self._sorting.page = int(self._pages.value)
            await self._changed()


@dataclass(slots=True)
class _Place:
    """The HTML elements of a cell."""

    column: Column
    _cell: Cell | None = None
    _frame: Text = field(init=False)
    _text: Text = field(init=False)
    _bar: ui.element | None = None

    def __post_init__(self) -> None:
        self._frame = Text("td").classes(self.column.classes)
        self._frame.props["data-label"] = self.column.label

    def show(self, cell: Cell) -> None:
        if cell == self._cell:
            return
        if self._cell is None or _shape(cell) != _shape(self._cell):
            self._make(cell)
        self._cell = cell
        self._text.text = cell.text
        if cell.href is not None:
            self._text.props["href"] = cell.href
        if cell.state is not None:
            self._text.classes(replace=f"badge state-{cell.state}")
        if self._bar is not None:
            self._bar.props["value"], self._bar.props["aria-label"] = cell.share, cell.label

    def _make(self, cell: Cell) -> None:
        self._frame.clear()
        self._frame.text = ""
        self._bar = None
        if cell.href is None and cell.state is None and cell.share is None:
            self._text = self._frame  # most cells, so this saves many elements
            return
        with self._frame:
            if cell.share is not None:
                self._bar = ui.element("progress")
            self._text = Text("a" if cell.href is not None else "span")


def _shape(cell: Cell) -> tuple[bool, ...]:
    """Return a key for the HTML elements that a cell needs. Cells with equal keys can be shown by the same elements."""
    return cell.href is None, cell.state is None, cell.share is None
