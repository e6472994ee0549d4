"""One RPC endpoint: its connections, its request rate and its failures."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from decloud_pl.chain.pace import Pace
from decloud_pl.chain.refusals import Refusals
from decloud_pl.chain.rpc_errors import Asked, from_error_object, from_transport, not_rpc, silent
from decloud_pl.errors import ConfigError, RpcUnavailable
from decloud_pl.proxies import route_to
from decloud_pl.retry import Backoff

if TYPE_CHECKING:
    from solana.rpc.async_api import AsyncClient

COMMITMENT = "confirmed"
_WHOLE_ANSWER = 3
"""The most time for a whole answer, as a multiple of the timeout. The timeout alone limits each wait for a byte."""
_REST = Backoff(2.0, 120.0)
LONGEST_ASKED_WAIT = 300.0
"""In seconds. A longer ``Retry-After`` is shortened to this."""
_BURST_SECONDS = 1.5
_NEAR_SLOTS = 32
"""Two methods of an endpoint may answer with slots that differ by this much."""

T = TypeVar("T")
Request = Callable[["AsyncClient"], Awaitable[T]]


class TokenBucket:
    """Limits requests to ``rate`` per second on average; 0 means no limit.

    Args:
        rate: the tokens that the bucket gains per second.
        burst: the most tokens that the bucket holds. After a quiet time, this many requests need no wait.
        now: the current time in monotonic seconds.
    """

    def __init__(self, rate: float, burst: float, *, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = now

    def take(self, now: float) -> float:
        """Take a token for one request, and return how many seconds the request must wait from ``now``."""
        if not self._rate:
            return 0.0
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate) - 1
        self._at = now
        return max(0.0, -self._tokens / self._rate)


class Endpoint:
    """The connections to one URL.

    If a request fails, `call` raises `RpcUnavailable` if a retry may help, and otherwise `RpcRejected`.

    Args:
        url: an http or https URL.
        timeout: seconds to wait for the next byte of an answer.
        rate: the most requests per second; 0 for no limit.
        pace: the clock and the sleep function.

    Raises:
        ConfigError: ``url`` is not an http or https URL, or the proxy or the certificates are wrong; see `route_to`.
    """

    def __init__(self, url: str, *, timeout: float, rate: float, pace: Pace) -> None:
        self.url = url
        self.host = host_of(url)
        self._route = route_to(url)
        self.healthy = True
        self.refusals = Refusals(self.host, pace.monotonic)
        self._timeout = timeout
        self._pace = pace
        self._bucket = TokenBucket(rate, max(1.0, rate * _BURST_SECONDS), now=pace.monotonic())
        self._client: AsyncClient | None = None
        self._failures = 0
        self._rests_until = 0.0
        self._asked_to_wait_until = 0.0
        # By method: an endpoint may answer different methods with different slots.
        self._slots: dict[str, tuple[int, float]] = {}

    async def aclose(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    @property
    def rests(self) -> bool:
        """Whether the pool prefers other endpoints now, because this one failed recently or sent ``Retry-After``."""
        return self.rests_by_itself or bool(self.must_wait)

    @property
    def rests_by_itself(self) -> bool:
        """Whether the back-off after the last failure still lasts, regardless of ``Retry-After``."""
        return self._pace.monotonic() < self._rests_until

    @property
    def must_wait(self) -> float:
        """How many more seconds to wait because of the endpoint's ``Retry-After``; 0 if no wait is left."""
        return max(0.0, self._asked_to_wait_until - self._pace.monotonic())

    def failed(self, retry_after: float | None = None) -> None:
        """Record a failure. The endpoint then rests for a time that grows with each failure in a row.

        ``retry_after`` is the wait in seconds that the endpoint requested.
        """
        self.healthy = False
        self._failures += 1
        rest = _REST.after(self._failures)
        now = self._pace.monotonic()
        self._rests_until = now + self._pace.jitter(rest)
        if retry_after:
            self._asked_to_wait_until = now + min(retry_after, LONGEST_ASKED_WAIT)

    def seconds_at(self, method: str, slot: int) -> float:
        """Record the slot of an answer. Return for how many seconds the answers to this method have had this slot."""
        now = self._pace.monotonic()
        known, since = self._slots.get(method, (-1, now))
        if slot != known:
            since = now
        self._slots[method] = (slot, since)
        return now - since

    def stands_at(self, slot: int, seconds: float) -> bool:
        """Return whether the answers to any method have been at this slot, or near it, for longer than ``seconds``."""
        now = self._pace.monotonic()
        return any(abs(slot - known) < _NEAR_SLOTS and now - since > seconds for known, since in self._slots.values())

    def recovered(self) -> None:
        self.healthy = True
        self._failures = 0
        self._rests_until = 0.0

    async def call(self, method: str, request: Request[T]) -> T:
        """Send one request, after a wait if the request rate requires it. Error messages name ``method``."""
        from solana.exceptions import SolanaRpcException
        from solana.rpc.core import RPCException
        from solders.errors import SerdeJSONError

        from decloud_pl.chain.answers import UnusableAnswer

        asked = Asked(self.url, self.host, method)
        wait = self._bucket.take(self._pace.monotonic())
        if wait:
            await self._pace.sleep(wait)
        try:
            async with asyncio.timeout(self._timeout * _WHOLE_ANSWER):
                answer = await request(self._connected())
        except RPCException as error:
            raise from_error_object(asked, error.args[0] if error.args else None) from error
        except SolanaRpcException as error:
            raise from_transport(asked, error.__cause__) from error
        except TimeoutError as error:
            raise silent(self.host) from error
        except UnusableAnswer as error:
            raise RpcUnavailable(
                f"The RPC endpoint {self.host} {error}.", fix="Check network.rpc_url, or use another endpoint."
            ) from error
        except (SerdeJSONError, ValueError) as error:
            raise not_rpc(self.host) from error
        except BaseException as error:
            # solders panics if an error object lacks the fields of its code. pyo3's PanicException derives from
            # BaseException and no module exports it, so only its name identifies it.
            if type(error).__name__ == "PanicException":
                raise not_rpc(self.host) from error
            raise
        if isinstance(answer, int):
            raise from_error_object(asked, answer)
        return answer

    def _connected(self) -> AsyncClient:
        if self._client is None:
            from decloud_pl.chain.answers import BoundedClient

            self._client = BoundedClient(self.url, commitment=COMMITMENT, timeout=self._timeout, route=self._route)
        return self._client


def host_of(url: str) -> str:
    """Return the host and the port of an http or https URL.

    Raises:
        ConfigError: ``url`` is not an http or https URL.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # an invalid port, or an unclosed bracket
        parts, host, port = urlsplit(""), None, None
    if parts.scheme not in ("http", "https") or not host:
        # The message does not repeat the URL, because it may contain an API key.
        raise ConfigError(
            "The RPC address is not an http or https URL.",
            fix="Set network.rpc_url to an address such as http://127.0.0.1:8899.",
        )
    return host if port is None else f"{host}:{port}"
