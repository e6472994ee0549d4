"""What one endpoint refuses to do, method by method, so that it is passed over for it until a while has passed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from decloud_pl.chain.rpc_errors import NO_HISTORY
from decloud_pl.errors import RpcRejected

logger = logging.getLogger(__name__)

ASKED_AGAIN_AFTER = 600.0
"""Seconds for which an endpoint is passed over for a method that it refused."""
_LASTING = frozenset({401, 402, 403, 404, 405, 410, -32010, NO_HISTORY, -32600, -32601})
"""Codes that speak of the method or the user's plan; others speak of one request, such as -32602."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A method that an endpoint refuses.

    Attributes:
        method: of JSON-RPC.
        message: the error's.
        fix: the error's.
        code: of JSON-RPC or HTTP.
        said: the code and the text that the endpoint refused with.
        until: when it is asked again, in monotonic seconds.
    """

    method: str
    message: str
    fix: str
    code: int | None
    said: str
    until: float


class Refusals:
    """Remembers what an endpoint refuses; says so once when that begins and once when it ends.

    Args:
        host: of the endpoint, for the log.
        monotonic: seconds.
    """

    def __init__(self, host: str, monotonic: Callable[[], float]) -> None:
        self._host = host
        self._monotonic = monotonic
        self._by_method: dict[str, Refusal] = {}

    def of(self, method: str) -> RpcRejected | None:
        """The refusal for which the endpoint is passed over now, made anew; None where it may be asked."""
        known = self._by_method.get(method)
        if known is None or self._monotonic() >= known.until:
            return None
        return RpcRejected(known.message, fix=known.fix, code=known.code, said=known.said)

    def all(self) -> list[Refusal]:
        """What the endpoint refused when it was asked last, by method."""
        return [self._by_method[method] for method in sorted(self._by_method)]

    def add(self, method: str, error: RpcRejected) -> None:
        """Remembers a refusal that will last; others concern one request alone."""
        if error.code not in _LASTING:
            return
        before = self._by_method.get(method)
        until = self._monotonic() + ASKED_AGAIN_AFTER
        self._by_method[method] = Refusal(method, error.message, error.fix, error.code, error.said, until)
        if before is None or before.code != error.code:
            logger.warning("%s It is passed over for that for %.0f min.", error.message, ASKED_AGAIN_AFTER / 60)

    def forget(self, method: str) -> None:
        """Notes that the endpoint has done what it was asked for."""
        if self._by_method.pop(method, None) is not None:
            logger.info("The RPC endpoint %s does not refuse %s any more", self._host, method)
