"""The dashboard's pages as an aiohttp application."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from decloud_pl import __version__
from decloud_pl.dashboard import formats, guard
from decloud_pl.dashboard.views import Views
from decloud_pl.errors import JournalError, UsageError
from decloud_pl.observers.metrics_server import add_routes

HOST = "127.0.0.1"
STATIC = Path(__file__).parent / "static"
_FORMATS = ("sol", "percent", "points", "number", "stamp", "iso", "span", "size", "short")


class Dashboard:
    """Answers requests.

    Args:
        home: the daemon's folder.
        token: what a browser must bring.
        views: what the pages show.
    """

    def __init__(self, home: Path, token: str, *, views: Views | None = None) -> None:
        self._home = home
        self._token = token
        self._views = views or Views(home)
        self._templates = Environment(
            loader=PackageLoader("decloud_pl.dashboard"),
            autoescape=select_autoescape(default=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update({name: getattr(formats, name) for name in _FORMATS})
        for name in self._templates.list_templates():  # compiled now, so that the first page need not wait
            self._templates.get_template(name)

    def application(self) -> web.Application:
        @web.middleware
        async def guarded(request: web.Request, handler: guard.Handler) -> web.StreamResponse:
            return await self._guarded(request, handler)

        application = web.Application(middlewares=[guarded])
        for path, handler in (
            ("/", self._overview),
            ("/rounds", self._rounds),
            (r"/rounds/{id:\d{1,18}}", self._round),
            ("/log", self._log),
            ("/skipped", self._skipped),
            ("/data/earnings", self._earnings),
            (r"/data/rounds/{id:\d{1,18}}", self._curves),
        ):
            application.router.add_get(path, handler)
        application.router.add_static("/static", STATIC)
        add_routes(application, self._home)
        return application

    async def _guarded(self, request: web.Request, handler: guard.Handler) -> web.StreamResponse:
        """Refuses strangers, and turns what goes wrong into a page with a sentence."""
        try:
            if guard.check(request, self._token):
                # The token leaves the address bar and the history.
                rest = urlencode([(key, value) for key, value in request.query.items() if key != "token"])
                response: web.StreamResponse = web.Response(
                    status=303, headers={"Location": f"{request.path}?{rest}" if rest else request.path}
                )
                guard.set_cookie(request, response, self._token)
            else:
                response = await handler(request)
        except guard.Forbidden as error:
            response = self._error(403, "Not allowed", str(error))
        except web.HTTPNotFound:
            response = self._error(404, "Not found", "There is no such page or round.")
        except web.HTTPMethodNotAllowed:
            response = self._error(405, "Not allowed", "The dashboard only shows; nothing can be changed here.")
        except JournalError as error:
            response = self._error(500, "The journal cannot be read", str(error))
        response.headers.update(guard.HEADERS)
        return response

    async def _overview(self, request: web.Request) -> web.Response:
        return await self._page(request, "overview.html", self._views.overview, _owner(request))

    async def _rounds(self, request: web.Request) -> web.Response:
        query = request.query

        def look(owner: str) -> dict[str, Any]:
            page = _integer(query.get("page")) or 1
            return self._views.rounds(owner, state=query.get("state", ""), text=query.get("q", "").strip(), page=page)

        return await self._page(request, "rounds.html", look, _owner(request))

    async def _round(self, request: web.Request) -> web.Response:
        round_id = int(request.match_info["id"])
        return await self._page(request, "round.html", self._views.round, _owner(request), round_id)

    async def _log(self, request: web.Request) -> web.Response:
        query = request.query

        def look(owner: str) -> dict[str, Any]:
            return self._views.log(
                owner,
                round_id=_integer(query.get("round")),
                kind=query.get("kind", ""),
                text=query.get("q", "").strip(),
                before=_time(query.get("before")),
            )

        return await self._page(request, "log.html", look, _owner(request))

    async def _skipped(self, request: web.Request) -> web.Response:
        before = _time(request.query.get("before"))
        return await self._page(
            request, "skipped.html", lambda owner: self._views.skipped(owner, before=before), _owner(request)
        )

    async def _earnings(self, request: web.Request) -> web.Response:
        return web.json_response(await asyncio.to_thread(self._views.earnings, _owner(request)))

    async def _curves(self, request: web.Request) -> web.Response:
        round_id = int(request.match_info["id"])
        return web.json_response(await asyncio.to_thread(self._views.curves, _owner(request), round_id))

    async def _page(
        self, request: web.Request, template: str, look: Callable[..., dict[str, Any] | None], *arguments: object
    ) -> web.Response:
        context = await asyncio.to_thread(look, *arguments)
        if context is None:
            raise web.HTTPNotFound
        return self._render(template, {**context, "url": request.path_qs, "path": request.path})

    def _render(self, template: str, context: dict[str, Any], status: int = 200) -> web.Response:
        def link(path: str, **query: object) -> str:
            """An address with the parts that are not empty, for the same wallet."""
            pairs = {key: value for key, value in query.items() if value not in ("", None)}
            if context.get("owner"):
                pairs["owner"] = context["owner"]
            return f"{path}?{urlencode(pairs)}" if pairs else path

        text = self._templates.get_template(template).render(**context, link=link, version=__version__)
        return web.Response(text=text, status=status, content_type="text/html")

    def _error(self, status: int, title: str, sentence: str) -> web.Response:
        return self._render("error.html", {"title": title, "sentence": sentence}, status)


@asynccontextmanager
async def serve(home: Path, token: str, *, port: int) -> AsyncIterator[str]:
    """Serves the dashboard while the context is open; yields its address with the token.

    Raises:
        UsageError: the port is taken.
    """
    runner = web.AppRunner(Dashboard(home, token).application(), access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, HOST, port).start()
        except OSError as error:
            taken = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
            raise UsageError(f"The port {port} {taken}.", fix="Choose another with --port, or 0 for any.") from error
        yield f"http://{HOST}:{runner.addresses[0][1]}/?token={token}"
    finally:
        await runner.cleanup()


def _owner(request: web.Request) -> str:
    return request.query.get("owner", "")


def _integer(text: str | None) -> int | None:
    """A whole number of a form field that is not too large for the journal, None for anything else."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= 18 else None


def _time(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
