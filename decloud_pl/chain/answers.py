"""The HTTP client for RPC endpoints. It limits the size of answers, and refuses compressed answers.

It does not read the body of a redirect or a server error.
"""

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
"""In bytes. A list of 100,000 rounds takes about 60 MB."""
_LONGEST_REFUSAL = 2048
"""The number of bytes to read of a refusal's text, which messages quote."""
_REFUSAL_SECONDS = 2.0


class BoundedClient(AsyncClient):
    """solana-py's RPC client, on top of an HTTP client that follows no redirects and limits the size of answers.

    Args:
        url: the http or https URL of the endpoint.
        commitment: the commitment of all requests.
        timeout: seconds to wait for the next byte of an answer.
        route: the proxy and the certificates for all requests.
    """

    def __init__(self, url: str, *, commitment: str, timeout: float, route: Route) -> None:
        # Not AsyncClient's constructor, because it makes its own provider.
        super(AsyncClient, self).__init__(Commitment(commitment))
        self._provider = _Provider(url, timeout, _session(timeout, route))


class _Provider(AsyncHTTPProvider):
    def __init__(self, url: str, timeout: float, session: httpx2.AsyncClient) -> None:
        # Not AsyncHTTPProvider's constructor, because it makes an HTTP client. That client would read proxies from the
        # environment, where they may be wrong, and load certificates (20 ms) even for a plain http URL.
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
    """Raised for an answer that the client refuses to read. The message completes the sentence "The RPC endpoint …"."""


async def bounded(response: httpx2.Response) -> None:
    """Limit how much of an answer the client reads. `httpx2` calls this hook before it reads the body.

    Raises:
        UnusableAnswer: the answer is compressed. If the body is too long, the same error is raised later, when the
            client reads the body.
    """
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        if response.is_success:
            raise UnusableAnswer("sends a compressed answer, although the request forbids it")
        del response.headers["Content-Encoding"]
        response.stream = _Nothing(response.stream)
    elif response.is_client_error:
        response.stream = _Refusal(response.stream)
    elif response.is_success:
        response.stream = _Bounded(response.stream)
    else:  # the status is enough
        response.stream = _Nothing(response.stream)


class _Body(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.SyncByteStream | httpx2.AsyncByteStream) -> None:
        if not isinstance(stream, httpx2.AsyncByteStream):
            raise TypeError("the answer does not come from an asynchronous client")
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
