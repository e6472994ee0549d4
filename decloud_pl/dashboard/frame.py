"""What all pages share: the head with its links, the choice of wallet and colours, and being kept up to date."""

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

PAGES = {"/": "Overview", "/rounds": "Rounds", "/log": "Log", "/skipped": "Skipped"}
STYLE = Path(__file__).parent / "style.css"
_COLOURS: dict[bool | None, tuple[str, str, bool | None]] = {
    None: ("brightness_auto", "Colours: as the system has them", True),
    True: ("dark_mode", "Colours: dark", False),
    False: ("light_mode", "Colours: light", None),
}
"""Symbol, words and what comes next."""
State = TypeVar("State")


@dataclass(slots=True)
class Preferences:
    """What the person at the browser chose, for all pages until the dashboard ends; ``dark`` is None for automatic."""

    dark: bool | None = None


class Frame:
    """A page around its content.

    Args:
        shown: what it says of itself.
        path: of this page.
        title: its heading.
        preferences: the person's.
        owner: the wallet that the address asks for, empty for the latest.
    """

    def __init__(
        self, shown: views.Header, *, path: str, title: str, preferences: Preferences, owner: str = ""
    ) -> None:
        self._shown = shown
        self._path = path
        self._title = title
        self._preferences = preferences
        self.owner = owner
        self._banner: Text | None = None

    def link(self, path: str, **query: object) -> str:
        """An address with the parts that are not empty, for the same wallet."""
        pairs = {key: value for key, value in query.items() if value not in ("", None)}
        if self.owner:
            pairs["owner"] = self.owner
        return f"{path}?{urlencode(pairs)}" if pairs else path

    @contextmanager
    def content(self) -> Iterator[None]:
        """The place for what the page shows."""
        ui.page_title(f"{self._title} · DECLOUD trainer")
        layout = ui.context.client.layout  # around Quasar's own <main>
        with layout, ui.element("header").classes("top") as head:
            self._head()
        head.move(target_index=0)
        with ui.element("div").classes("content") as content:
            # On a narrow screen the link of the page, right above it, is its title.
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
        """Shows what is read, now and every so many seconds; returns what does so at once.

        Raises:
            JournalError: the journal cannot be read now. Later on the page says so and keeps what it shows.
        """
        show(await asyncio.to_thread(read))

        async def again() -> None:
            banner = self._banner
            try:
                state = await asyncio.to_thread(read)
            except JournalError as error:
                if banner is not None:
                    banner.text, banner.visible = str(error), True
                return
            if banner is not None:
                banner.text, banner.visible = "", False
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
                choice.on_value_change(
                    lambda event: ui.navigate.to(f"{self._path}?{urlencode({'owner': event.value})}")
                )
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
