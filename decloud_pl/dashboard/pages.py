"""The dashboard's pages. Each page shows one result of `Views` and keeps it up to date while the page is open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import HTTPException, Request
from nicegui import ui

from decloud_pl.dashboard import views
from decloud_pl.dashboard.cards import Cards, overview_cards, round_cards
from decloud_pl.dashboard.charts import CurvesChart, EarningsChart
from decloud_pl.dashboard.fields import (
    LONGEST_TEXT,
    address_of,
    choice,
    integer,
    sorting_of,
    text_field,
    time_of,
)
from decloud_pl.dashboard.frame import Frame, Preferences
from decloud_pl.dashboard.rows import (
    ACTIVE_COLUMNS,
    CODES,
    CREATOR_COLUMNS,
    LOG_COLUMNS,
    REASON_COLUMNS,
    ROUND_COLUMNS,
    SKIP_COLUMNS,
    VALIDATOR_COLUMNS,
    active_row,
    creator_row,
    details,
    log_rows,
    reason_row,
    round_row,
    skip_row,
    validator_row,
)
from decloud_pl.dashboard.tables import PagedTable, Table, Text
from decloud_pl.dashboard.views import GROUPS, KINDS, PAGE_SIZE, STATES, Views

_RESPONSE_SECONDS = 30.0
_FACTS = ("network", "program", "preset", "filters", "convention", "device", "precision")


@dataclass(slots=True)
class Pages:
    """Registers the pages with the NiceGUI of this process.

    Args:
        data: the data of the pages.
        preferences: the choices of the user.
    """

    data: Views
    preferences: Preferences

    def register(self) -> None:
        for path, build in (
            ("/", self.overview),
            ("/rounds", self.rounds),
            ("/rounds/{number}", self.round),
            ("/log", self.log),
            ("/skipped", self.skipped),
            ("/validators", self.validators),
        ):
            # Wrapped in a function, because NiceGUI does not accept methods.
            ui.page(path, response_timeout=_RESPONSE_SECONDS)(_page(build))

    async def overview(self, request: Request) -> None:
        frame = await self._frame(request, "Overview")
        with frame.content():
            with ui.element("div").classes("status"):
                cards = Cards(frame)
                facts = ui.element("p").classes("facts")
                Text("h2", "Active rounds")
                active = Table(ACTIVE_COLUMNS, name="active", label="Active rounds", empty="No active rounds.")
                more = ui.link("", frame.link("/rounds", state="active"))
            with ui.element("div").classes("charts"):
                curves, earnings = CurvesChart(names_round=True), EarningsChart()
            Text("h2", "Latest events")
            last = Table(LOG_COLUMNS, name="last log", label="Latest events", empty="No events yet.")
            with ui.element("p"):
                ui.link("Full log", frame.link("/log"))
            named: dict[str, str] = {}

            def show(now: views.Overview) -> None:
                cards.show(overview_cards(now))
                found = now.daemon.facts if now.daemon is not None else {}
                if found != named:
                    named.clear()
                    named.update(found)
                    _show_facts(facts, found)
                active.show([active_row(row, frame) for row in now.active])
                more.text, more.visible = f"{now.more_active:,} more", now.more_active > 0
                curves.show(now.curves)
                earnings.show(now.earnings)
                last.show(log_rows(now.entries, frame))

            await frame.follow(2.0, lambda: self.data.overview(frame.owner), show)

    async def rounds(self, request: Request) -> None:
        frame = await self._frame(request, "Rounds")
        query = request.query_params
        chosen, text = query.get("state", ""), query.get("q", "").strip()[:LONGEST_TEXT]
        sorting = sorting_of(request, ROUND_COLUMNS, "round_id")
        with frame.content():

            async def changed() -> None:
                if asked != [select.value, field.value]:
                    sorting.page, asked[:] = 1, [select.value, field.value]
                ui.navigate.history.replace(
                    frame.link("/rounds", state=select.value, q=field.value.strip(), **address_of(sorting, "round_id"))
                )
                await again()

            names = [*GROUPS, *STATES]
            with ui.element("div").classes("filter").props("role=search"):
                select = choice("State", names, chosen, changed)
                field = text_field("Number, data set, reason or CID", text, changed).classes("wide")
            asked = [select.value, field.value]
            shown = PagedTable(
                ROUND_COLUMNS, sorting, changed, name="rounds", label="Matching rounds", empty="No matching rounds."
            )

            def read() -> views.Rounds:
                return self.data.rounds(
                    frame.owner,
                    state=select.value,
                    text=field.value.strip(),
                    page=sorting.page,
                    order=sorting.order,
                    descending=sorting.descending,
                )

            def show(now: views.Rounds) -> None:
                rows = [round_row(entry, frame) for entry in now.entries]
                shown.show(rows, count=now.count, page=now.page, noun="round")

            again = await frame.follow(5.0, read, show)

    async def round(self, request: Request) -> None:
        number_ = integer(request.path_params["number"])
        owner = request.query_params.get("owner", "")
        if number_ is None or await asyncio.to_thread(self.data.round, owner, number_) is None:
            raise HTTPException(404)
        frame = await self._frame(request, f"Round {number_}")
        with frame.content():
            cards = Cards(frame)
            with ui.element("div").classes("charts"):
                curves = CurvesChart(names_round=False)
            Text("h2", "Details")
            listed = ui.element("dl").classes("details")
            values: dict[str, Text] = {}
            Text("h2", "Events")
            label = "Events of this round, latest first"
            events = Table(LOG_COLUMNS, name="log", label=label, empty="No events yet.")

            def show(now: views.OneRound | None) -> None:
                if now is None:
                    return
                cards.show(round_cards(now))
                curves.show(now.curves)
                for name, value in details(now.active.entry).items():
                    if name not in values:
                        with listed:
                            Text("dt", name)
                            values[name] = Text("dd").classes("mono" if name in CODES else "")
                    values[name].text = value
                events.show(log_rows(now.entries, frame))

            await frame.follow(2.0, lambda: self.data.round(frame.owner, number_), show)

    async def log(self, request: Request) -> None:
        frame = await self._frame(request, "Log")
        query = request.query_params
        before = time_of(query.get("before"))
        with frame.content():

            async def changed() -> None:
                ui.navigate.history.replace(frame.link("/log", **asked()))
                await again()

            def asked() -> dict[str, object]:
                return {"round": number_.value.strip(), "kind": kind.value, "q": text.value.strip(), "before": before}

            with ui.element("div").classes("filter").props("role=search"):
                number_ = text_field("Round", query.get("round", ""), changed).props("inputmode=numeric maxlength=18")
                kind = choice("State or kind", KINDS, query.get("kind", ""), changed)
                text = text_field("Text", query.get("q", ""), changed).classes("wide")
            events = Table(LOG_COLUMNS, name="log", label="Events, latest first", empty="No matching events.")
            with ui.element("nav").classes("older").props('aria-label="Pages of the list"'):
                latest, older = ui.link("Latest"), ui.link("Older")

            def read() -> views.Log:
                return self.data.log(
                    frame.owner,
                    round_id=integer(number_.value.strip()),
                    kind=kind.value,
                    text=text.value.strip(),
                    before=before,
                )

            def show(now: views.Log) -> None:
                events.show(log_rows(now.entries, frame))
                latest.visible, older.visible = before is not None, now.older is not None
                for link, time in ((latest, None), (older, now.older)):
                    target = frame.link("/log", **{**asked(), "before": time})
                    if link.props["href"] != target:
                        link.props["href"] = target

            again = await frame.follow(3.0, read, show)

    async def skipped(self, request: Request) -> None:
        frame = await self._frame(request, "Why rounds were skipped")
        sorting = sorting_of(request, SKIP_COLUMNS, "at")
        with frame.content():

            async def changed() -> None:
                if asked != [field.value]:
                    sorting.page, asked[:] = 1, [field.value]
                ui.navigate.history.replace(frame.link("/skipped", q=field.value.strip(), **address_of(sorting, "at")))
                await again()

            Text("h2", "The most frequent reasons (… replaces a number, a CID, an address or quoted text)")
            reasons = Table(
                REASON_COLUMNS, name="reasons", label="Reasons and their frequency", empty="No skipped rounds."
            )
            Text("h2", "Skipped rounds")
            with ui.element("div").classes("filter").props("role=search"):
                field = text_field("Reason", request.query_params.get("q", ""), changed).classes("wide")
            asked = [field.value]
            shown = PagedTable(
                SKIP_COLUMNS, sorting, changed, name="skips", label="Skipped rounds", empty="No skipped rounds."
            )

            def read() -> views.Skips:
                return self.data.skipped(
                    frame.owner,
                    text=field.value.strip(),
                    page=sorting.page,
                    order=sorting.order,
                    descending=sorting.descending,
                )

            def show(now: views.Skips) -> None:
                reasons.show([reason_row(reason, count) for reason, count in now.reasons])
                shown.show(
                    [skip_row(entry) for entry in now.entries], count=now.count, page=now.page, noun="skipped round"
                )

            again = await frame.follow(5.0, read, show)

    async def validators(self, request: Request) -> None:
        frame = await self._frame(request, "Validators and creators")
        with frame.content():
            words = f"The {PAGE_SIZE} with the most known rounds. decloud-trainer validators --limit 0 shows all."
            Text("p", words).classes("muted")
            Text("h2", "Validators")
            validators = Table(
                VALIDATOR_COLUMNS,
                name="validators",
                label="Track records of validators",
                empty="No validators are known yet. The daemon keeps their record while it runs.",
            )
            Text("h2", "Creators")
            creators = Table(
                CREATOR_COLUMNS,
                name="creators",
                label="Track records of creators",
                empty="No creators are known yet. The daemon keeps their record while it runs.",
            )

            def show(now: views.TrackRecords) -> None:
                validators.show([validator_row(record) for record in now.validators])
                creators.show([creator_row(record) for record in now.creators])

            await frame.follow(10.0, lambda: self.data.track_records(frame.owner), show)

    async def _frame(self, request: Request, title: str) -> Frame:
        owner = request.query_params.get("owner", "")
        shown = await asyncio.to_thread(self.data.frame, owner)
        return Frame(shown, path=request.url.path, title=title, preferences=self.preferences, owner=owner)


def _page(build: Callable[[Request], object]) -> Callable[[Request], object]:
    async def page(request: Request) -> None:
        await build(request)  # type: ignore[misc]

    return page


def _show_facts(place: ui.element, facts: dict[str, str]) -> None:
    place.clear()
    with place:
        for name in _FACTS:
            if name in facts:
                with ui.element("span"):
                    Text("span", f"{name.capitalize()} ")
                    Text("b", facts[name])
