"""Answers of RPC endpoints: bounded, uncompressed, and nothing of a redirect or an overload."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx2
from solana.rpc.async_api import AsyncClient
from solana.rpc.async_http_provider import DEFAULT_MAX_TRANSPORT_RETRIES, AsyncHTTPProvider
from solana.rpc.commitment import Commitment
from solana.rpc.types import URI

from decloud_pl.proxies import Route

LONGEST_ANSWER = 256 << 20
"""Bytes. A program's 100,000 rounds take about 60 MB."""
_LONGEST_REFUSAL = 2048
_REFUSAL_SECONDS = 2.0
"""What is read of the text beside a refusal, for messages."""


class BoundedClient(AsyncClient):
    """solana-py's client over an HTTP client that follows no redirect and reads answers within limits.

    Args:
        url: http or https.
        commitment: of every request that has one.
        timeout: seconds the server may be silent.
        route: the proxy and the certificates of all requests.
    """

    def __init__(self, url: str, *, commitment: str, timeout: float, route: Route) -> None:
        # AsyncClient's constructor is passed over: it makes its own provider.
        super(AsyncClient, self).__init__(Commitment(commitment))
        self._provider = _Provider(url, timeout, _session(timeout, route))


class _Provider(AsyncHTTPProvider):
    def __init__(self, url: str, timeout: float, session: httpx2.AsyncClient) -> None:
        # AsyncHTTPProvider's constructor is not called: it makes an HTTP client that reads proxies from the
        # environment, where they may be wrong, and that loads certificates (20 ms) even for a plain http URL.
        self.endpoint_uri = URI(url)
        self.timeout = timeout
        self.extra_headers = {"Accept-Encoding": "identity"}
        self.session = session
        self._max_transport_retries = DEFAULT_MAX_TRANSPORT_RETRIES
        self._limiter = None


def _session(timeout: float, route: Route) -> httpx2.AsyncClient:
    context = route.ssl_context()
    return httpx2.AsyncClient(
        http2=True,
        timeout=timeout,
        proxy=None if route.proxy is None else httpx2.Proxy(route.proxy, ssl_context=route.proxy_ssl_context()),
        verify=True if context is None else context,
        trust_env=False,
        event_hooks={"response": [bounded]},
    )


class UnusableAnswer(Exception):
    """What an endpoint did instead of answering; completes "The RPC endpoint …"."""


async def bounded(response: httpx2.Response) -> None:
    """Limits what is read of an answer; a hook of `httpx2`, called before its body is read.

    Raises:
        UnusableAnswer: it is compressed, which was not asked for. Reading raises it for one too long.
    """
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        if response.is_success:
            raise UnusableAnswer("compresses its answer, which was not asked for")
        del response.headers["Content-Encoding"]
        response.stream = _Nothing(response.stream)
    elif response.is_client_error:
        response.stream = _Refusal(response.stream)
    elif response.is_success:
        response.stream = _Bounded(response.stream)
    else:  # the status says all that is needed
        response.stream = _Nothing(response.stream)


class _Body(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.SyncByteStream | httpx2.AsyncByteStream) -> None:
        if not isinstance(stream, httpx2.AsyncByteStream):
            raise TypeError("the answer is not read by an asynchronous client")
        self._stream = stream

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Bounded(_Body):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._stream:
            size += len(part)
            if size > LONGEST_ANSWER:
                raise UnusableAnswer(f"sends more than {LONGEST_ANSWER >> 20} MB in one answer")
            yield part


class _Refusal(_Body):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        text = bytearray()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REFUSAL_SECONDS):
                async for part in self._stream:
                    text += part
                    if len(text) > _LONGEST_REFUSAL:
                        break
        yield bytes(text[:_LONGEST_REFUSAL])


class _Nothing(_Body):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b""
