"""The allowed values of settings, declared next to the types: ``epochs: Annotated[int, ONE_OR_MORE] = 1``.

`decloud_pl.config` checks every declared range after it has composed the settings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, get_type_hints

from decloud_pl.addresses import check_gateway, check_http, check_multiaddr, check_pubkey, check_websocket
from decloud_pl.domain import parse_sol

_INFINITY = float("inf")


@dataclass(frozen=True)
class Range:
    """A set of allowed values.

    Attributes:
        words: completes "NAME must be …" in an error message.
        holds: returns whether a value is in the range. Instead of False, it may raise a ValueError with the reason.
        example: a valid value, which the error message suggests if ``holds`` raised a ValueError.
    """

    words: str
    holds: Callable[[Any], bool]
    example: str = "0.05"


ZERO_OR_MORE = Range("at least 0", lambda value: 0 <= value < _INFINITY)
ONE_OR_MORE = Range("at least 1", lambda value: 1 <= value < _INFINITY)
ABOVE_ZERO = Range("greater than 0", lambda value: 0 < value < _INFINITY)
LONGEST_POLL_INTERVAL = 240.0
"""In seconds. `decloud_pl.observers` reports a daemon as silent that has not heard from the chain for five minutes."""
POLL_INTERVAL = Range("greater than 0 and at most 240", lambda value: 0 < value <= LONGEST_POLL_INTERVAL)
PORT = Range("a port from 1 to 65535, or 0 for none", lambda value: 0 <= value <= 65_535)
FRACTION = Range("a number from 0 to 1", lambda value: 0 <= value <= 1)
AMOUNT = Range("an amount in SOL like 0.05", lambda text: parse_sol(text) >= 0)
GPUS = Range("a fraction below 1, or a whole number of GPUs", lambda value: value < 1 or value % 1 == 0)
RAY = Range(
    "auto, local, HOST:PORT or ray://HOST:PORT",
    lambda value: re.fullmatch(r"auto|local|(ray://)?[^/]+:[0-9]+", value) is not None,
)
MAYBE_AMOUNT = Range(AMOUNT.words, lambda text: not text or parse_sol(text) >= 0)


def _addresses(check: Callable[[str], None], example: str) -> Range:
    """Return a range that contains each address that ``check`` accepts, lists of such addresses, and the empty text."""

    def holds(value: str | list[str]) -> bool:
        for address in value if isinstance(value, list) else [value] if value else []:
            check(address)
        return True

    return Range(f"an address like {example}", holds, example)


URL = _addresses(check_http, "https://rpc.example.org")
WEBSOCKET = _addresses(check_websocket, "wss://rpc.example.org")
GATEWAYS = _addresses(check_gateway, "https://ipfs.io")
MULTIADDR = _addresses(check_multiaddr, "/ip4/127.0.0.1/tcp/5001/http")
PUBKEYS = _addresses(check_pubkey, "3JF3sEqM796hk5WFqA6EtmEwJQ9quALszsfJyvXNQKy3")


def at_most(limit: float) -> Range:
    """Return the range of values up to a limit."""
    return Range(f"at most {limit}", lambda value: value <= limit)


def one_of(*words: str) -> Range:
    """Return the range that contains only the given words. Error messages list all of them except the empty text."""
    shown = [repr(word) for word in words if word]
    return Range(f"{', '.join(shown[:-1])} or {shown[-1]}", lambda value: value in words)


def some_of(words: Collection[str]) -> Range:
    """Return the range of lists that contain only the given words, each at most once."""
    return Range(
        f"a list of some of {', '.join(words)}, each at most once",
        lambda names: len(set(names)) == len(names) and set(names) <= set(words),
    )


def declared(node: object, above: str = "") -> Iterator[tuple[str, Any, Range]]:
    """Yield (key, value, range) for each setting with a declared range, in a dataclass and its nested dataclasses.

    Settings with the value None are left out.
    """
    hints = get_type_hints(type(node), include_extras=True)
    for entry in fields(node):  # type: ignore[arg-type]  # a dataclass
        place, value = f"{above}{entry.name}", getattr(node, entry.name)
        if is_dataclass(value):
            yield from declared(value, f"{place}.")
        elif value is not None:
            yield from ((place, value, one) for one in getattr(hints[entry.name], "__metadata__", ()))
