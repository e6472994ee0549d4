"""The methods that an endpoint refuses. For ten minutes after a refusal, the pool prefers other endpoints."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from decloud_pl.chain.rpc_errors import NO_HISTORY
from decloud_pl.errors import RpcRejected

logger = logging.getLogger(__name__)

ASKED_AGAIN_AFTER = 600.0
"""For how many seconds the pool avoids an endpoint for a method that it refused."""
LASTING = frozenset({401, 402, 403, 404, 405, 410, -32010, NO_HISTORY, -32600, -32601})
"""Codes that concern the method or the user's plan. Other codes, such as -32602, concern a single request."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A method that an endpoint refuses, and the error to raise for it.

    Attributes:
        method: the JSON-RPC method.
        message: the error's message.
        fix: the error's suggestion of what to do.
        code: the JSON-RPC or HTTP code.
        said: the code and the text of the endpoint's answer.
        until: when the pool tries the method again, in monotonic seconds.
    """

    method: str
    message: str
    fix: str
    code: int | None
    said: str
    until: float


class Refusals:
    """Remembers the methods that an endpoint refuses. Logs when a refusal begins and when it ends.

    Args:
        host: the host of the endpoint, for the log.
        monotonic: returns monotonic seconds.
    """

    def __init__(self, host: str, monotonic: Callable[[], float]) -> None:
        self._host = host
        self._monotonic = monotonic
        self._by_method: dict[str, Refusal] = {}

    def of(self, method: str) -> RpcRejected | None:
        """Return the error if the endpoint refused the method in the last ten minutes, otherwise None."""
        known = self._by_method.get(method)
        if known is None or self._monotonic() >= known.until:
            return None
        return RpcRejected(known.message, fix=known.fix, code=known.code, said=known.said)

    def all(self) -> list[Refusal]:
        """Return the refusals, sorted by method. A refusal stays in the list until the endpoint answers the method."""
        return [self._by_method[method] for method in sorted(self._by_method)]

    def add(self, method: str, error: RpcRejected, *, is_only: bool) -> None:
        """Remember that the endpoint refuses a method. Ignore an error that concerns only a single request.

        Args:
            method: the JSON-RPC method.
            error: the endpoint's refusal.
            is_only: whether this is the network's only endpoint. If so, the refusal is logged at debug level instead
                of as a warning, because the caller reports the error.
        """
        if error.code not in LASTING:
            return
        before = self._by_method.get(method)
        until = self._monotonic() + ASKED_AGAIN_AFTER
        self._by_method[method] = Refusal(method, error.message, error.fix, error.code, error.said, until)
        if before is None or before.code != error.code:
            level, minutes = logging.DEBUG if is_only else logging.WARNING, ASKED_AGAIN_AFTER / 60
            logger.log(level, "%s Avoiding this endpoint for %s for %.0f min.", error.message, method, minutes)

    def forget(self, method: str) -> None:
        """Forget the refusal of a method, because the endpoint has answered it."""
        if self._by_method.pop(method, None) is not None:
            logger.info("The RPC endpoint %s no longer refuses %s", self._host, method)
