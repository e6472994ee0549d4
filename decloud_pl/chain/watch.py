"""The program's events as they happen, over the endpoint's WebSocket (``logsSubscribe``).

Events are hints, delivered at most once: after each `Connected` the caller reads the chain's state, because
anything may have happened while nobody was listening.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from decloud_pl.chain.dialects.v1 import V1
from decloud_pl.chain.dialects.v1.events import Event
from decloud_pl.chain.pace import Pace, RealPace
from decloud_pl.errors import ConfigError, DecodeError

logger = logging.getLogger(__name__)

_FIRST_WAIT = 0.5
_LONGEST_WAIT = 30.0
_LONGEST_FAREWELL = 1.0
_SUBSCRIBE_ID = 1


class _Refused(Exception):
    """The endpoint does not want this subscription."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The subscription stands (again); what happened before it must be read from the chain."""


async def watch_events(
    ws_url: str,
    dialect: V1,
    *,
    pace: Pace | None = None,
    ping_seconds: float = 20.0,
    open_seconds: float = 10.0,
) -> AsyncIterator[Event | Connected]:
    """Yields events for ever; reconnects with jittered back-off, and never raises for a broken connection.

    A subscription that the endpoint refuses counts as a broken connection: silence would look like peace.

    Args:
        ws_url: ws or wss.
        dialect: decodes the logs.
        pace: time, for back-off.
        ping_seconds: how often the connection's life is checked; one that is silent to a ping for as long
            again is given up. Silence of the program alone says nothing.
        open_seconds: how long connecting may take.

    Raises:
        ConfigError: ``ws_url`` is not a ws or wss URL.
    """
    import asyncio

    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidURI, WebSocketException

    pace = pace or RealPace()
    wait = _FIRST_WAIT
    while True:
        try:
            async with connect(
                ws_url,
                open_timeout=open_seconds,
                ping_interval=ping_seconds,
                ping_timeout=ping_seconds,
                close_timeout=min(ping_seconds, _LONGEST_FAREWELL),
            ) as socket:
                await socket.send(json.dumps(_subscription(dialect)))
                async for message in socket:
                    for item in _items(message, dialect):
                        if isinstance(item, Connected):
                            wait = _FIRST_WAIT
                        yield item
        except InvalidURI:
            # Its text is not repeated: it may hold an API key.
            raise ConfigError(
                "The WebSocket address is not a ws or wss URL.", fix="Write network.ws_url like ws://127.0.0.1:8900."
            ) from None
        except (OSError, WebSocketException, asyncio.TimeoutError, _Refused) as error:
            logger.info("The WebSocket is gone (%s); connecting again", type(error).__name__)
        pause = pace.jitter(wait)
        wait = min(wait * 2, _LONGEST_WAIT)
        await pace.sleep(pause)


def _subscription(dialect: V1) -> dict[str, Any]:
    return {
        "jsonrpc": "2.0",
        "id": _SUBSCRIBE_ID,
        "method": "logsSubscribe",
        "params": [{"mentions": [str(dialect.program_id)]}, {"commitment": "confirmed"}],
    }


def _items(message: str | bytes, dialect: V1) -> list[Event | Connected]:
    """What one message says; a message that cannot be understood is logged and passed over."""
    try:
        body = json.loads(message)
        if body.get("id") == _SUBSCRIBE_ID:
            if "result" in body:
                return [Connected()]
            raise _Refused
        if body.get("method") != "logsNotification":
            return []
        value = body["params"]["result"]["value"]
        if value["err"] is not None:
            return []
        return list(dialect.events(value["logs"]))
    except (ValueError, KeyError, TypeError, AttributeError, DecodeError) as error:
        logger.warning("A WebSocket message was passed over: %s", error)
        return []
