"""Yield the on-chain program's events as they happen, from the WebSocket of an endpoint (``logsSubscribe``).

Events are only hints, because some never arrive. After each `Subscribed`, the caller must read the chain's state, which
may have changed while there was no subscription. A program may send no events for a long time, so the client also
subscribes to slots (``slotSubscribe``). If no message arrives for some time, the client closes the connection, even if
the endpoint still answers pings.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from decloud_pl.chain.dialect import Dialect
from decloud_pl.chain.events import Event
from decloud_pl.chain.pace import Pace, RealPace
from decloud_pl.chain.rpc_errors import Asked
from decloud_pl.domain import MOST_STORABLE
from decloud_pl.errors import ConfigError
from decloud_pl.proxies import route_to
from decloud_pl.retry import Backoff

logger = logging.getLogger(__name__)

_BACKOFF = Backoff(0.5, 30.0)
_STEADY_SECONDS = 30.0
"""A subscription that delivered messages for this long was steady. Its end then counts as the first failure."""
_LONGEST_MESSAGE = 1 << 20
_LONGEST_FAREWELL = 1.0
_METHOD = "logsSubscribe"
_SUBSCRIBE_ID = 1
_SLOTS_ID = 2


class _Refused(Exception):
    """The endpoint refuses the subscription. The message is the endpoint's error, which may contain an API key."""


@dataclass
class _Reports:
    """Logs the problems of one WebSocket address. Logs each kind of problem only once until the address works again."""

    host: str
    states: set[str] = field(default_factory=set)

    def failed(self, state: str, detail: str) -> None:
        if state not in self.states:
            logger.warning(
                "The WebSocket of %s %s%s. Polling the chain meanwhile; retrying within %.0f s.",
                *(self.host, state, f" ({detail})" if detail else "", _BACKOFF.longest),
            )
        self.states.add(state)

    def steady(self) -> None:
        if self.states:
            logger.info("The WebSocket of %s works again.", self.host)
        self.states.clear()


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The subscription is active. The caller must now read the chain's state, because it may have missed events."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The subscription has ended. The caller must poll the chain until the next `Subscribed`."""


Watched: TypeAlias = Event | Subscribed | Disconnected


async def watch_events(
    ws_urls: str | Sequence[str],
    dialect: Dialect,
    *,
    pace: Pace | None = None,
    ping_seconds: float = 20.0,
    open_seconds: float = 10.0,
    silence_seconds: float = 30.0,
) -> AsyncIterator[Watched]:
    """Yield events without end. After a broken connection, the client reconnects with jittered back-off.

    Neither a broken connection nor a refused subscription raises an error. The wait before the next try grows with each
    failure. It is short again only after a subscription that delivered messages for at least 30 s. The client follows
    no redirects. It logs each kind of problem of an address only once, until the address works again.

    Args:
        ws_urls: ws or wss URLs. If one fails, the client tries the next one.
        dialect: decodes the logs.
        pace: the clock, the sleep and the jitter for back-off; by default those of this machine.
        ping_seconds: the interval between pings, and the time limit for each answer. If a ping is not answered in time,
            the client closes the connection.
        open_seconds: the timeout for connecting, and for the answer to the subscription.
        silence_seconds: if no message arrives for this long, the client closes the connection. This limit applies only
            after the endpoint has announced its first slot.

    Raises:
        ConfigError: a URL is not a ws or wss URL, or the proxy or the certificates are wrong; see `route_to`.
    """
    import asyncio

    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException

    class Direct(connect):
        def process_redirect(self, exc: Exception) -> Exception:
            return exc

    pace = pace or RealPace()
    loop = asyncio.get_running_loop()
    urls = (ws_urls,) if isinstance(ws_urls, str) else tuple(ws_urls)
    routes = [_options(url) for url in urls]
    reports = {url: _Reports(_host(url)) for url in urls}
    failures = turn = 0
    while True:
        url = urls[turn % len(urls)]
        asked = Asked(url, _host(url), _METHOD)
        connected, subscribed_at, heard_at = False, 0.0, 0.0
        try:
            async with Direct(
                url,
                **routes[turn % len(urls)],
                open_timeout=open_seconds,
                ping_interval=ping_seconds,
                ping_timeout=ping_seconds,
                max_size=_LONGEST_MESSAGE,
                close_timeout=min(ping_seconds, _LONGEST_FAREWELL),
            ) as socket:
                await socket.send(json.dumps(_subscription(dialect)))
                await socket.send(json.dumps(_SLOTS))
                deadline = loop.time() + open_seconds
                timeout: float | None = None
                while True:
                    async with asyncio.timeout(timeout if connected else deadline - loop.time()):
                        message = await socket.recv()
                    heard_at = pace.monotonic()
                    if connected and heard_at - subscribed_at >= _STEADY_SECONDS:
                        reports[url].steady()
                    if connected and _announces_slots(message):
                        timeout = silence_seconds
                    for item in _items(message, dialect):
                        if isinstance(item, Subscribed):
                            if connected:
                                continue
                            connected, subscribed_at = True, heard_at
                        yield item
        except InvalidURI:
            # The message does not repeat the URL, because it may contain an API key.
            raise ConfigError(
                "The WebSocket address is not a ws or wss URL.",
                fix="Set network.ws_url to an address such as ws://127.0.0.1:8900.",
            ) from None
        except InvalidStatus as error:
            state, detail = "is refused", f"HTTP {error.response.status_code}"
        except _Refused as error:
            state, detail = "refuses the subscription", asked.quoted(str(error))
        except ConnectionClosed as error:
            state, detail = "is lost", ""
            if error.rcvd is not None:
                state = "is closed"
                detail = " ".join(filter(None, (str(error.rcvd.code), asked.quoted(error.rcvd.reason))))
                heard_at = pace.monotonic()
        except TimeoutError:
            state, detail = "delivers nothing" if connected else "does not answer", ""
        except (OSError, RuntimeError, WebSocketException) as error:  # RuntimeError if no thread can look up the host
            state, detail = "cannot be reached", type(error).__name__
        if connected:
            yield Disconnected()
        if connected and heard_at - subscribed_at >= _STEADY_SECONDS:
            failures = turn = 0
            reports[url].steady()
        else:
            turn += 1
            reports[url].failed(f"{state} soon after each start" if connected else state, detail)
        failures += 1
        await pace.sleep(pace.jitter(_BACKOFF.after(failures)))


def _options(url: str) -> dict[str, Any]:
    """Return the arguments of ``connect`` that set the proxy and the certificates."""
    route = route_to(url)
    options: dict[str, Any] = {"proxy": route.proxy_with_plain_login()}
    # The library refuses a context that it does not need, and None would mean no encryption.
    contexts = {"ssl": route.ssl_context() if url.lower().startswith("wss:") else None}
    contexts["proxy_ssl"] = route.proxy_ssl_context()
    return options | {name: context for name, context in contexts.items() if context is not None}


def _host(url: str) -> str:
    """Return only the host and the port of a URL, because the rest may contain an API key."""
    return urlsplit(url).netloc.rpartition("@")[2] or "the network"


_SLOTS = {"jsonrpc": "2.0", "id": _SLOTS_ID, "method": "slotSubscribe", "params": []}
_SLOT_MARK = '"slotNotification"'


def _announces_slots(message: str | bytes) -> bool:
    """Return whether a message announces a slot.

    Several slots are announced each second, so the function searches the text and does not parse the JSON.
    """
    return _SLOT_MARK in message if isinstance(message, str) else _SLOT_MARK.encode() in message


def _subscription(dialect: Dialect) -> dict[str, Any]:
    return {
        "jsonrpc": "2.0",
        "id": _SUBSCRIBE_ID,
        "method": _METHOD,
        "params": [{"mentions": [str(dialect.program_id)]}, {"commitment": "confirmed"}],
    }


def _items(message: str | bytes, dialect: Dialect) -> list[Watched]:
    """Return a message's events, or `Subscribed` if it confirms the subscription. Log and skip a malformed message."""
    if _announces_slots(message):
        return []
    try:
        body = json.loads(message)
        if body.get("id") == _SUBSCRIBE_ID:
            if "result" in body:
                return [Subscribed()]
            raise _Refused(str(body.get("error", "")))
        if body.get("method") != "logsNotification":
            return []
        value = body["params"]["result"]["value"]
        if value["err"] is not None:
            return []
        return [event for event in dialect.events(value["logs"]) if event.round_id <= MOST_STORABLE]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        logger.warning("Skipped a WebSocket message in a wrong format: %s", error)
        return []
