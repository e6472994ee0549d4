"""Serves ``/metrics`` to Prometheus and ``/healthz`` to service monitors, by default on loopback only."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from decloud_pl.config.schema import MetricsConfig
from decloud_pl.errors import ConfigError, JournalError
from decloud_pl.journal.owner import Owner
from decloud_pl.observers.connection_limit import BACKLOG, ConnectionLimit

if TYPE_CHECKING:
    from aiohttp import web

_OWN_NAMES = ("127.0.0.1", "localhost", "::1")


def is_own_host(host: str) -> bool:
    """Return whether a request's ``Host`` is a loopback name of this machine, with any port.

    This prevents DNS rebinding: if another site lets its name resolve to this machine, the browser still sends that
    name as ``Host`` in the requests of the site's pages.
    """
    try:
        return urlsplit(f"//{host}").hostname in _OWN_NAMES
    except ValueError:
        return False


def _application(home: Path, owner: Owner, host: str, refresh: Callable[[], None]) -> web.Application:
    """Return an application with ``/metrics`` and ``/healthz``. ``host`` is the address on which it listens."""
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

    @web.middleware
    async def own_host_only(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if host in _OWN_NAMES and not is_own_host(request.headers.get("Host", "")):
            raise web.HTTPForbidden(text="The Host header is not a loopback name of this machine. Use 127.0.0.1.\n")
        try:
            response = await handler(request)
        except JournalError as error:
            response = web.Response(status=503, text=f"{error}\n")
        response.force_close()  # each scrape opens a connection and sends one request
        return response

    application = web.Application(middlewares=[own_host_only])
    application.router.add_get("/metrics", metrics)
    application.router.add_get("/healthz", healthz)
    return application


@asynccontextmanager
async def metrics_server(
    home: Path, owner: Owner, config: MetricsConfig, *, refresh: Callable[[], None] = lambda: None
) -> AsyncIterator[int]:
    """Serve ``/metrics`` and ``/healthz`` while the context is open; yield the port.

    If ``config.host`` is not loopback, anyone who can connect may read the pages, and the ``Host`` header is not
    checked. The pages contain amounts and states of rounds, but no secrets. ``refresh`` is called before each answer,
    so that the daemon records its current state.

    Raises:
        ConfigError: the port is in use, or the host is not an address of this machine.
    """
    from aiohttp import web

    runner = web.AppRunner(_application(home, owner, config.host, refresh), access_log=None)
    await runner.setup()
    server, limit, loop = runner.server, ConnectionLimit(), asyncio.get_running_loop()
    assert server is not None  # noqa: S101 - the runner is set up
    try:
        try:
            listening = await loop.create_server(
                lambda: limit.guard(server(), lambda _: False), config.host, config.port, backlog=BACKLOG
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                fix = "Set metrics.port to another port."
                raise ConfigError(f"The port {config.port} for metrics is already in use.", fix=fix) from error
            raise ConfigError(
                f"Metrics cannot be served on metrics.host={config.host}, port {config.port}: {error.strerror}.",
                fix="Set metrics.host to 127.0.0.1, to 0.0.0.0 for all addresses, or to an address of this machine.",
            ) from error
        try:
            yield listening.sockets[0].getsockname()[1]
        finally:
            listening.close()
    finally:
        await runner.cleanup()
