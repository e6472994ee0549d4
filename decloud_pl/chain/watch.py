"""The program's events as they happen, over the endpoint's WebSocket (``logsSubscribe``).

Events are hints, delivered at most once: after each `Subscribed` the caller reads the chain's state, because
anything may have happened while nobody was listening. That the program is silent says nothing, so the slots
are subscribed to as well (``slotSubscribe``): a connection on which they stop is given up even when it still
answers pings.
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
from decloud_pl.errors import ConfigError
from decloud_pl.legible import legible
from decloud_pl.proxies import route_to
from decloud_pl.retry import Backoff

logger = logging.getLogger(__name__)

_BACKOFF = Backoff(0.5, 30.0)
_STEADY_SECONDS = 30.0
"""How long a subscription has to last, and to deliver, for its end to count as the first failure."""
_LONGEST_QUOTE = 200
_LONGEST_MESSAGE = 1 << 20
_LONGEST_FAREWELL = 1.0
_SUBSCRIBE_ID = 1
_SLOTS_ID = 2


class _Refused(Exception):
    """The endpoint does not want this subscription; its words are the error's."""


@dataclass
class _Told:
    """What the log says of one address: a line for each thing that goes wrong with it, and none for each try."""

    host: str
    states: set[str] = field(default_factory=set)

    def failed(self, state: str, detail: str) -> None:
        if state not in self.states:
            logger.warning(
                "The WebSocket of %s %s%s; the chain is polled meanwhile, and it is tried again after at most %.0f s",
                *(self.host, state, f" ({detail})" if detail else "", _BACKOFF.longest),
            )
        self.states.add(state)

    def steady(self) -> None:
        if self.states:
            logger.info("The WebSocket of %s delivers again", self.host)
        self.states.clear()


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The subscription stands (again); what happened before it must be read from the chain."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """Nobody is listening from now on; the chain must be polled until the next `Subscribed`."""


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
    """Yields events for ever; reconnects with jittered back-off, and never raises for a broken connection.

    A subscription that the endpoint refuses counts as a broken connection: silence would look like peace. Where
    subscriptions end soon after their start, or deliver nothing, the waits grow, too. Redirects are not followed. The
    log gets a line when what is wrong with an address changes.

    Args:
        ws_urls: ws or wss; with several, the next one is tried when one cannot be subscribed to.
        dialect: decodes the logs.
        pace: time, for back-off.
        ping_seconds: how often the connection's life is checked; one that is silent to a ping for as long
            again is given up. Silence of the program alone says nothing.
        open_seconds: how long connecting, and the answer to the subscription, may take; whatever else comes first.
        silence_seconds: how long no slot may be announced, where the endpoint announces them.

    Raises:
        ConfigError: a URL is not a ws or wss URL, or the way there cannot be used: see `route_to`.
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
    told = {url: _Told(_host(url)) for url in urls}
    failures = turn = 0
    while True:
        url = urls[turn % len(urls)]
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
                        told[url].steady()
                    if connected and _announces_slots(message):
                        timeout = silence_seconds
                    for item in _items(message, dialect):
                        if isinstance(item, Subscribed):
                            if connected:
                                continue
                            connected, subscribed_at = True, heard_at
                        yield item
        except InvalidURI:
            # Its text is not repeated: it may hold an API key.
            raise ConfigError(
                "The WebSocket address is not a ws or wss URL.", fix="Write network.ws_url like ws://127.0.0.1:8900."
            ) from None
        except InvalidStatus as error:
            state, detail = "is refused", f"HTTP {error.response.status_code}"
        except _Refused as error:
            state, detail = "refuses the subscription", str(error)
        except ConnectionClosed as error:
            state, detail = "is lost", ""
            if error.rcvd is not None:
                state = "is closed"
                detail = " ".join(filter(None, (str(error.rcvd.code), legible(error.rcvd.reason, _LONGEST_QUOTE))))
                heard_at = pace.monotonic()
        except TimeoutError:
            state, detail = "delivers nothing" if connected else "does not answer", ""
        except (OSError, WebSocketException) as error:
            state, detail = "cannot be reached", type(error).__name__
        if connected:
            yield Disconnected()
        if connected and heard_at - subscribed_at >= _STEADY_SECONDS:
            failures = turn = 0
            told[url].steady()
        else:
            turn += 1
            told[url].failed(f"{state} soon after each start" if connected else state, detail)
        failures += 1
        await pace.sleep(pace.jitter(_BACKOFF.after(failures)))


def _options(url: str) -> dict[str, Any]:
    """The way to a WebSocket, for the library."""
    route = route_to(url)
    options: dict[str, Any] = {"proxy": route.proxy_with_plain_login()}
    # The library takes None for "not encrypted", and refuses what is not needed.
    contexts = {"ssl": route.ssl_context() if url.lower().startswith("wss:") else None}
    contexts["proxy_ssl"] = route.proxy_ssl_context()
    return options | {name: context for name, context in contexts.items() if context is not None}


def _host(url: str) -> str:
    """Host and port; the rest of an address may be a key."""
    return urlsplit(url).netloc.rpartition("@")[2] or "the network"


_SLOTS = {"jsonrpc": "2.0", "id": _SLOTS_ID, "method": "slotSubscribe", "params": []}
_SLOT_MARK = '"slotNotification"'


def _announces_slots(message: str | bytes) -> bool:
    """Whether a message is a slot's announcement; there are several a second, so it is not parsed."""
    return _SLOT_MARK in message if isinstance(message, str) else _SLOT_MARK.encode() in message


def _subscription(dialect: Dialect) -> dict[str, Any]:
    return {
        "jsonrpc": "2.0",
        "id": _SUBSCRIBE_ID,
        "method": "logsSubscribe",
        "params": [{"mentions": [str(dialect.program_id)]}, {"commitment": "confirmed"}],
    }


def _items(message: str | bytes, dialect: Dialect) -> list[Watched]:
    """What one message says; a message that cannot be understood is logged and passed over."""
    if _announces_slots(message):
        return []
    try:
        body = json.loads(message)
        if body.get("id") == _SUBSCRIBE_ID:
            if "result" in body:
                return [Subscribed()]
            raise _Refused(legible(str(body.get("error", "")), _LONGEST_QUOTE))
        if body.get("method") != "logsNotification":
            return []
        value = body["params"]["result"]["value"]
        if value["err"] is not None:
            return []
        return list(dialect.events(value["logs"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        logger.warning("A WebSocket message was passed over: %s", error)
        return []
