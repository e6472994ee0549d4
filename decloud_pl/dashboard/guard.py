"""Who may see the dashboard: whoever has the address with its token, from this machine's own names for itself.

Any program on this machine can reach a port on loopback, and any page in a browser can make the browser ask it. So a
request must name this machine as its host (against DNS rebinding), come from no other page's origin, and carry the
token. What this does not cover: programs of the same user, who can read the token and the journal anyway.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

from decloud_pl.observers.loopback import is_own_host

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

COOKIE = "decloud_dashboard"
OPEN_PATHS = ("/metrics", "/healthz")
"""For Prometheus and service monitors, which have no cookies; they show counts, no page may read them."""
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Forbidden(Exception):
    """A request that is refused; the text is a sentence for people."""


def check(request: web.Request, token: str) -> bool:
    """Whether the request brings the token in its address, and a cookie is to be set.

    Raises:
        Forbidden: it may not see anything.
    """
    if not is_own_host(request.headers.get("Host", "")):
        raise Forbidden("This address is not one of this machine's own: open the dashboard at 127.0.0.1.")
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("Host"):
        raise Forbidden("Another page asked for this; the dashboard answers its own pages only.")
    if request.path in OPEN_PATHS or request.path.startswith("/static/"):
        return False
    given = request.query.get("token")
    if given is not None:
        if not hmac.compare_digest(given.encode(), token.encode()):
            raise Forbidden(
                "The token in the address is wrong: open the address that `decloud-trainer dashboard` printed."
            )
        return True
    if not hmac.compare_digest(request.cookies.get(cookie_name(request), "").encode(), token.encode()):
        raise Forbidden("A token is needed: open the address that `decloud-trainer dashboard` printed when it started.")
    return False


def cookie_name(request: web.Request) -> str:
    """Cookies do not keep ports apart; two dashboards must not log each other out."""
    transport = request.transport
    name = transport.get_extra_info("sockname") if transport is not None else None
    return f"{COOKIE}_{name[1]}" if isinstance(name, tuple) else COOKIE


def set_cookie(request: web.Request, response: web.StreamResponse, token: str) -> None:
    response.set_cookie(cookie_name(request), token, httponly=True, samesite="Strict", path="/")
