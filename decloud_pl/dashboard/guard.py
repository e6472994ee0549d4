"""Admit only browsers that have the token and open the dashboard under a name of this machine.

Any program on this machine can connect to a port on loopback, and any web page can make the browser send requests to
it. So a request must name this machine as its host (against DNS rebinding), must not come from the origin of another
page, and must contain the token. The guard checks this before every page, asset and WebSocket; only `OPEN_PATHS` need
no token. NiceGUI's own socket would accept any origin.

This does not protect against programs of the same user, because they can read the token and the journal.

The content security policy prevents a page from loading data from other hosts or sending data to them. It does not
block scripts inside the page itself, because NiceGUI's pages need inline scripts.
"""

from __future__ import annotations

import hmac
from html import escape
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from decloud_pl.observers.metrics_server import is_own_host

COOKIE = "decloud_dashboard"
OPEN_PATHS = ("/metrics", "/healthz")
"""For Prometheus and service monitors, which have no cookies. Other web pages cannot read these answers."""
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_POLICY_VIOLATION = 1008


class Forbidden(Exception):
    """A refused request. The message is a sentence for the user."""


class Guard:
    """ASGI middleware that checks requests and adds `HEADERS` to every answer.

    Args:
        app: the application to protect.
        token: the token that a browser must send: first in the address, then in a cookie.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        try:
            has_token = self._check(scope)
        except Forbidden as error:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
            else:
                await sentence(403, "Not allowed", str(error))(scope, receive, _with_headers(send))
            return
        if scope["type"] == "websocket":
            await self.app(scope, receive, send)
        elif scope["method"] not in ("GET", "HEAD"):
            refusal = sentence(405, "Not allowed", "The dashboard is read-only.")
            await refusal(scope, receive, _with_headers(send))
        elif has_token:
            await self._welcome(scope)(scope, receive, _with_headers(send))
        else:
            await self.app(scope, receive, _with_headers(send))

    def _check(self, scope: Scope) -> bool:
        """Check a request, and return whether its URL contains the token. If so, the caller sets the cookie.

        Raises:
            Forbidden: the request is not allowed.
        """
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not is_own_host(host):
            raise Forbidden("This address is not a name of this machine. Open the dashboard at 127.0.0.1.")
        origin = headers.get("origin")
        if origin is not None and _place(origin) != host:
            raise Forbidden("The request came from another web page. The dashboard answers only its own pages.")
        if scope["path"] in OPEN_PATHS and scope["type"] == "http":
            return False
        given = dict(_query(scope)).get("token")
        if given is not None:
            if not self._is_token(given):
                raise Forbidden(
                    "The token in the address is wrong. Open the address that `decloud-trainer dashboard` printed."
                )
            return True
        if not self._is_token(_cookie(headers, cookie_name(scope))):
            raise Forbidden(
                "The address has no token. Open the address that `decloud-trainer dashboard` printed at its start."
            )
        return False

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(errors="replace"), self._token.encode())

    def _welcome(self, scope: Scope) -> Response:
        """Set the cookie and redirect to the URL without the token, so that the browser's history does not keep it."""
        rest = urlencode([(key, value) for key, value in _query(scope) if key != "token"])
        path = "/" + scope["path"].lstrip("/")  # "//host/" would be another host
        response = RedirectResponse(f"{path}?{rest}" if rest else path, status_code=303)
        response.set_cookie(cookie_name(scope), self._token, httponly=True, samesite="strict", path="/")
        return response


def cookie_name(scope: Scope) -> str:
    """Return the cookie's name. It contains the port, because two dashboards must not overwrite each other's cookie."""
    server = scope.get("server")
    return f"{COOKIE}_{server[1]}" if server else COOKIE


def sentence(status: int, title: str, text: str) -> HTMLResponse:
    """Return a page that shows one message and loads no other files."""
    return HTMLResponse(
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)} · DECLOUD trainer</title>"
        "<style>main { max-width: 40em; margin: 2em auto; padding: 0 16px; font: 15px/1.5 system-ui, sans-serif; }"
        "</style>"
        f"<main><h1>{escape(title)}</h1><p>{escape(text)}</p></main></html>\n",
        status_code=status,
    )


def _place(origin: str) -> str | None:
    """Return the host and the port of an origin, or None if it is malformed."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _query(scope: Scope) -> list[tuple[str, str]]:
    return parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)


def _cookie(headers: Headers, name: str) -> str:
    # `SimpleCookie` would drop our cookie if one before it is malformed. Programs on other ports set cookies here, too.
    return cookie_parser(headers.get("cookie", "")).get(name, "")


def _with_headers(send: Send) -> Send:
    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message.get("headers", [])))
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            message = {**message, "headers": headers.raw}
        await send(message)

    return sender
