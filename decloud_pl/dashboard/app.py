"""Serves the dashboard on loopback: NiceGUI's pages behind the `Guard`, and the metrics for Prometheus."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from nicegui import app as nicegui_app
from nicegui import ui
from starlette.types import ASGIApp
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from decloud_pl.dashboard.frame import STYLE, Preferences
from decloud_pl.dashboard.guard import Guard, sentence
from decloud_pl.dashboard.pages import Pages
from decloud_pl.dashboard.views import Views
from decloud_pl.errors import JournalError, UsageError
from decloud_pl.observers.connection_limit import BACKLOG, ConnectionLimit
from decloud_pl.observers.prometheus import CONTENT_TYPE, exposition, health

HOST = "127.0.0.1"
_LONGEST_GOODBYE = 3
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="3" fill="#0969da"/>'
    '<path d="M3 12 6.5 7.5 9 10l4-6" fill="none" stroke="#fff" stroke-width="2" stroke-linecap="round"/></svg>'
)


class _Server(uvicorn.Server):
    """A server that installs no signal handlers, because the command handles the signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def application(home: Path, token: str) -> ASGIApp:
    """Return the dashboard behind its `Guard`. Call this only once per process, because NiceGUI has global state.

    Args:
        home: the daemon's folder.
        token: the token that a browser must send.
    """
    outer = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    _add_metrics(outer, home)
    _add_errors(nicegui_app)
    _add_errors(outer)
    Pages(Views(home), Preferences()).register()
    ui.add_head_html(f"<style>{STYLE.read_text(encoding='utf-8')}</style>", shared=True)
    nicegui_app.config.socket_io_js_transports = ["websocket"]
    ui.run_with(
        outer,
        title="DECLOUD trainer",
        favicon=_ICON,
        dark=None,
        language="en-GB",
        tailwind=False,
        binding_refresh_interval=None,
        gzip_middleware_factory=None,  # compression saves nothing on loopback
        show_welcome_message=False,
    )
    return Guard(outer, token)


@asynccontextmanager
async def serve(home: Path, token: str, *, port: int) -> AsyncIterator[str]:
    """Serve the dashboard while the context is open, and yield its URL, which contains the token.

    Raises:
        UsageError: the port is in use, or the dashboard does not start.
    """
    limit = ConnectionLimit()

    def guarded(**parts: Any) -> asyncio.Protocol:
        return limit.guard(AutoHTTPProtocol(**parts), _is_busy)

    with _listen(port) as listener:
        config = uvicorn.Config(
            application(home, token),
            http=guarded,  # type: ignore[arg-type]  # uvicorn calls it, as it calls a class
            backlog=BACKLOG,
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_LONGEST_GOODBYE,
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            while not server.started:
                if serving.done():
                    await serving
                    raise UsageError("The dashboard did not start.", fix="See the log messages above.")
                await asyncio.sleep(0.01)
            yield f"http://{HOST}:{listener.getsockname()[1]}/?token={token}"
        finally:
            server.should_exit = True
            await serving


def _is_busy(protocol: Any) -> bool:
    return protocol.cycle is not None and not protocol.cycle.response_complete


@contextmanager
def _listen(port: int) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
            fix = "Choose another port with --port, or --port 0 for any free port."
            raise UsageError(f"Port {port} {reason}.", fix=fix) from error
        yield listener


def _add_metrics(outer: FastAPI, home: Path) -> None:
    @outer.get("/metrics")
    def metrics() -> Response:
        return Response(exposition(home), headers={"Content-Type": CONTENT_TYPE})

    @outer.get("/healthz")
    def healthz() -> Response:
        state = health(home)
        return JSONResponse(state, status_code=200 if state["ok"] else 503)


def _add_errors(target: FastAPI) -> None:
    """Show each error as a page with one sentence."""

    @target.exception_handler(404)
    async def missing(_: Request, __: Exception) -> Response:
        return sentence(404, "Not found", "This page or round does not exist.")

    @target.exception_handler(JournalError)
    async def unreadable(_: Request, error: Exception) -> Response:
        return sentence(500, "The journal cannot be read", str(error))

    @target.exception_handler(Exception)
    async def failed(_: Request, __: Exception) -> Response:  # uvicorn logs it
        return sentence(
            500, "Internal error", "See the terminal of `decloud-trainer dashboard`, and please report the error."
        )
