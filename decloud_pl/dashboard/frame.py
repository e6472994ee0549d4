"""The parts that all pages share: links, the choice of wallet and colours, and the periodic refresh of the content."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode

from nicegui import ui

from decloud_pl import __version__
from decloud_pl.dashboard import views
from decloud_pl.dashboard.formats import short
from decloud_pl.dashboard.tables import Text
from decloud_pl.errors import JournalError

PAGES = {"/": "Overview", "/rounds": "Rounds", "/log": "Log", "/skipped": "Skipped", "/validators": "Validators"}
STYLE = Path(__file__).parent / "style.css"
_COLOURS: dict[bool | None, tuple[str, str, bool | None]] = {
    None: ("brightness_auto", "Colours: as in the system", True),
    True: ("dark_mode", "Colours: dark", False),
    False: ("light_mode", "Colours: light", None),
}
"""The icon and the label of each mode, and the next mode."""
State = TypeVar("State")


@dataclass(slots=True)
class Preferences:
    """The user's choices for all pages, kept until the dashboard ends. ``dark`` is None for the system's colours."""

    dark: bool | None = None


class Frame:
    """The header, the footer and the error banner of a page.

    Args:
        shown: the data in the header and the footer.
        path: the path of this page.
        title: the heading.
        preferences: the choices of the user.
        owner: the `Owner.folder` of the wallet that the page shows, from the page's URL. Empty means the most recently
            used wallet.
    """

    def __init__(
        self, shown: views.Header, *, path: str, title: str, preferences: Preferences, owner: str = ""
    ) -> None:
        self._shown = shown
        self._path = path
        self._title = title
        self._preferences = preferences
        self.owner = owner
        self._banner: Text  # set by `content`

    def link(self, path: str, **query: object) -> str:
        """Return the URL of another page that shows the same wallet as this page.

        Query parameters that are empty or None are left out.
        """
        pairs = {key: value for key, value in query.items() if value not in ("", None)}
        if self.owner:
            pairs["owner"] = self.owner
        return f"{path}?{urlencode(pairs)}" if pairs else path

    @contextmanager
    def content(self) -> Iterator[None]:
        """Draw the frame. Elements that are created inside the context become the content of the page."""
        ui.page_title(f"{self._title} · DECLOUD trainer")
        layout = ui.context.client.layout  # around Quasar's own <main>
        with layout, ui.element("header").classes("top") as head:
            self._head()
        head.move(target_index=0)
        with ui.element("div").classes("content") as content:
            # A narrow screen hides this title, because the link right above it has the same text.
            Text("h1", self._title).classes("repeated" if PAGES.get(self._path) == self._title else "")
            self._banner = Text("p").classes("banner").props("role=alert")
            self._banner.visible = False
            yield
        with layout, ui.element("footer").classes("foot"), ui.element("p"):
            if self._shown.wallet is not None:
                Text("span", "Wallet ")
                Text("span", short(self._shown.wallet)).classes("mono").props["title"] = self._shown.wallet
                Text("span", " · ")
            Text("span", self._shown.home).classes("mono")
            Text("span", f" · version {__version__}")
        ui.skip_link("Skip to the content", target=content)

    async def follow(
        self, seconds: float, read: Callable[[], State], show: Callable[[State], None]
    ) -> Callable[[], Awaitable[None]]:
        """Read and show the data now, and again every ``seconds`` seconds.

        Returns:
            A function that reads and shows the data immediately.

        Raises:
            JournalError: the first read of the journal failed. If a later read fails, the page shows the error and
                keeps its content.
        """
        show(await asyncio.to_thread(read))

        async def again() -> None:
            try:
                state = await asyncio.to_thread(read)
            except JournalError as error:
                self._banner.text, self._banner.visible = str(error), True
                return
            self._banner.text, self._banner.visible = "", False
            show(state)

        ui.timer(seconds, again, immediate=False)
        return again

    def _head(self) -> None:
        Text("p", "DECLOUD trainer").classes("brand")
        with ui.element("nav").classes("pages").props('aria-label="Pages"'):
            for path, name in PAGES.items():
                entry = ui.link(name, self.link(path))
                if path == self._path:
                    entry.props("aria-current=page")
        with ui.element("div").classes("tools"):
            if len(self._shown.wallets) > 1:
                choice = ui.select(dict(self._shown.wallets), label="Wallet", value=self._shown.chosen)
                choice.props("dense outlined options-dense")
                # Another wallet may not have the round of this page.
                path = self._path if self._path in PAGES else "/rounds"
                choice.on_value_change(lambda event: ui.navigate.to(f"{path}?{urlencode({'owner': event.value})}"))
            self._colours()

    def _colours(self) -> None:
        dark = ui.dark_mode(self._preferences.dark)
        button = ui.button(color=None).props("flat round dense")

        def show() -> None:
            symbol, words, _ = _COLOURS[self._preferences.dark]
            button.icon = symbol
            button.props["aria-label"] = words
            button.props["title"] = words
            dark.value = self._preferences.dark

        def change() -> None:
            self._preferences.dark = _COLOURS[self._preferences.dark][2]
            show()

        button.on_click(change)
        show()
