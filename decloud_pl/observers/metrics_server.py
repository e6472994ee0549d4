"""``/metrics`` and ``/healthz`` on loopback, for Prometheus and for whatever watches services."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from decloud_pl.errors import ConfigError
from decloud_pl.journal.owner import Owner

if TYPE_CHECKING:
    from aiohttp import web

_HOST = "127.0.0.1"
_OWN_NAMES = (_HOST, "localhost", "::1")


def is_own_host(host: str) -> bool:
    """Whether a request's ``Host`` is one of this machine's own names for itself, with any port.

    Against DNS rebinding: a page of another site whose name leads to this machine still names that site as its host.
    """
    try:
        return urlsplit(f"//{host}").hostname in _OWN_NAMES
    except ValueError:
        return False


def add_routes(
    application: web.Application,
    home: Path,
    owner: Owner | None = None,
    *,
    refresh: Callable[[], None] = lambda: None,
) -> None:
    """Adds both pages to an application.

    Args:
        application: aiohttp's.
        home: the daemon's folder.
        owner: whose rounds; those with the latest change by default.
        refresh: called first; the daemon writes down how it is.
    """
    from aiohttp import web

    from decloud_pl.observers.prometheus import CONTENT_TYPE, exposition, health

    async def metrics(_: web.Request) -> web.Response:
        refresh()
        body = await asyncio.to_thread(exposition, home, owner)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    async def healthz(_: web.Request) -> web.Response:
        refresh()
        state = await asyncio.to_thread(health, home, owner)
        return web.json_response(state, status=200 if state["ok"] else 503)

    application.router.add_get("/metrics", metrics)
    application.router.add_get("/healthz", healthz)


@asynccontextmanager
async def metrics_server(
    home: Path, owner: Owner, *, port: int, refresh: Callable[[], None] = lambda: None
) -> AsyncIterator[int]:
    """Serves both pages while the context is open; yields the port.

    Raises:
        ConfigError: the port is taken.
    """
    from aiohttp import web

    @web.middleware
    async def own_host_only(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if not is_own_host(request.headers.get("Host", "")):
            raise web.HTTPForbidden(text="This address is not one of this machine's own: ask 127.0.0.1.\n")
        return await handler(request)

    application = web.Application(middlewares=[own_host_only])
    add_routes(application, home, owner, refresh=refresh)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, _HOST, port)
        try:
            await site.start()
        except OSError as error:
            taken = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
            raise ConfigError(f"The port {port} for metrics {taken}.", fix="Set metrics.port to another.") from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
