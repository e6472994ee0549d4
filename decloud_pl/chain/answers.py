"""Answers of RPC endpoints: bounded, uncompressed, and none of a redirect or a refusal."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2

from decloud_pl.proxies import Route

LONGEST_ANSWER = 256 << 20
"""Bytes. A program's 100,000 rounds take about 60 MB."""


def bounded_client(timeout: float, route: Route) -> httpx2.AsyncClient:
    """An HTTP client that reaches its server by a route, follows no redirect and reads answers within limits.

    Args:
        timeout: seconds the server may be silent.
        route: by which all of its requests go.
    """
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
        raise UnusableAnswer("compresses its answer, which was not asked for")
    # The status says all that is needed of what is no success.
    response.stream = _Bounded(response.stream, is_wanted=response.is_success)


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.SyncByteStream | httpx2.AsyncByteStream, *, is_wanted: bool) -> None:
        if not isinstance(stream, httpx2.AsyncByteStream):
            raise TypeError("the answer is not read by an asynchronous client")
        self._stream = stream
        self._is_wanted = is_wanted

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        if not self._is_wanted:
            return
        async for part in self._stream:
            size += len(part)
            if size > LONGEST_ANSWER:
                raise UnusableAnswer(f"sends more than {LONGEST_ANSWER >> 20} MB in one answer")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()
