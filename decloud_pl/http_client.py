"""HTTP sessions for untrusted servers.

A session has a deadline, does not decompress bodies and does not follow redirects.

`requests` alone reads the whole body of a redirect, even if it does not follow the redirect. It decompresses a body
without a size limit, and waits forever if a server keeps sending single bytes.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import threading
from collections.abc import Iterator
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError
from urllib3.poolmanager import PoolManager

from decloud_pl.proxies import route_to

IDENTITY = {"Accept-Encoding": "identity"}
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_INTERIM_ANSWERS = 10
_LONGEST_ANSWER = 1 << 20
_PIECE = 1 << 16


class UnusableAnswer(requests.RequestException):
    """The answer is a redirect or is too long."""


class BoundedSession(requests.Session):
    """A session that closes its connections at a deadline. Use it as a context manager, for one or a few requests.

    It does not follow redirects. To read the body of an answer, call `body`.

    Args:
        seconds: the time from entering the context until all connections are closed. After that, requests and reads
            raise `requests.Timeout`.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.headers.update(IDENTITY)
        # `requests` would send logins from ~/.netrc to untrusted servers. Proxies and certificates: see below.
        self.trust_env = False
        self.expired = False
        self._sockets = _Sockets()
        for prefix, adapter in list(self.adapters.items()):
            self.mount(prefix, _bounded(type(adapter), self._sockets))
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def close(self) -> None:
        self._timer.cancel()
        self._sockets.cut()  # an answer that is not fully read still holds its connection
        super().close()
        self._sockets.close()

    def abort(self) -> None:
        """Close all connections. Any thread may call this. Waiting requests raise `requests.RequestException`."""
        self._sockets.cut()

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002 - the name that `requests` uses
        # If `requests` finds a target, it reads the body of the redirect, even with `allow_redirects=False`.
        return None

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:  # noqa: ARG002 - the names that `requests` uses
        """Take the proxy and the certificates from `decloud_pl.proxies`, instead of letting `requests` choose them.

        Raises:
            ConfigError: see `route_to`.
        """
        route = route_to(url)
        if verify is None or verify is True:
            verify = self.verify if route.certificates is None else str(route.certificates)
        found = {"all": route.proxy} if route.proxy else {}
        return {"proxies": found, "stream": stream, "verify": verify, "cert": cert}

    def request(self, *arguments: Any, **options: Any) -> requests.Response:
        """Send a request like `requests.Session.request`, but do not read the body or follow a redirect.

        Raises:
            ConfigError: the proxy or the certificates in the environment cannot be used.
            requests.Timeout: the deadline has passed, or the server was silent for too long.
            requests.RequestException: any other failure.
        """
        try:
            return super().request(*arguments, **{**options, "stream": True, "allow_redirects": False})
        except requests.RequestException as error:
            raise self._reason(error) from error

    def body(self, response: requests.Response, size: int) -> Iterator[bytes]:
        """Yield the body of an answer as the server sent it, at most ``size`` bytes at a time.

        Raises:
            requests.Timeout: the deadline has passed.
            requests.RequestException: the connection broke, or the body is compressed although the request did not
                allow it.
        """
        if response.headers.get("Content-Encoding", "identity").lower() not in ("identity", ""):
            raise requests.exceptions.ContentDecodingError(
                "the answer is compressed, although the request did not allow it"
            )
        try:
            # `stream` would read a line of any length in a chunked body.
            while chunk := response.raw.read(size, decode_content=False):
                yield chunk
        except (HTTPError, OSError, ValueError) as error:  # ValueError if a chunk has a negative size
            raise self._reason(requests.ConnectionError("the connection broke")) from error
        if self._sockets.is_cut:  # without a Content-Length, a closed connection looks like the end of the body
            raise self._reason(requests.ConnectionError("the exchange was aborted"))

    def whole(self, response: requests.Response) -> bytes:
        """Return the body of an answer, at most 1 MiB.

        Raises:
            UnusableAnswer: the body is longer.
            requests.RequestException: see `body`.
        """
        body = bytearray()
        for piece in self.body(response, _PIECE):
            body += piece
            if len(body) > _LONGEST_ANSWER:
                raise UnusableAnswer(f"the answer is longer than {_LONGEST_ANSWER:,} bytes")
        return bytes(body)

    def _expire(self) -> None:
        self.expired = True
        self.abort()

    def _reason(self, error: requests.RequestException) -> requests.RequestException:
        return requests.Timeout("the exchange took too long") if self.expired else error


class WholeSession(BoundedSession):
    """A session for libraries that do not limit the length of an answer. The session reads each body, up to 1 MiB."""

    def request(self, *arguments: Any, **options: Any) -> requests.Response:
        """Send a request like `BoundedSession.request`, and read the whole body.

        Raises:
            UnusableAnswer: the answer is a redirect or is too long.
        """
        response = super().request(*arguments, **options)
        try:
            if response.status_code in REDIRECTS:
                raise UnusableAnswer("the answer is a redirect")
            body = self.whole(response)
        except requests.ConnectionError as error:
            # `ipfshttpclient` interprets a `ConnectionError` as a node that does not run.
            raise requests.exceptions.ChunkedEncodingError(*error.args) from error
        finally:
            response.close()
        response.raw = io.BytesIO(body)
        return response


class _Sockets:
    """The open connections of a session. Any thread may close them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self.is_cut = False

    def add(self, connection: socket.socket) -> None:
        # Keep a duplicate descriptor, because TLS takes over the first one.
        with self._lock:
            self._open.append(connection.dup())
            if self.is_cut:
                self._shut()

    def cut(self) -> None:
        with self._lock:
            self.is_cut = True
            self._shut()

    def close(self) -> None:
        with self._lock:
            for connection in self._open:
                connection.close()
            self._open.clear()

    def _shut(self) -> None:
        for connection in self._open:
            with contextlib.suppress(OSError):  # the other side has closed the connection
                connection.shutdown(socket.SHUT_RDWR)


class _Response(http.client.HTTPResponse):
    """An HTTP answer that fails after too many interim "100 Continue" answers. `http.client` alone sets no limit."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._interim_answers = 0

    def _read_status(self) -> tuple[str, int, str]:
        found: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]
        self._interim_answers += found[1] == http.client.CONTINUE
        if self._interim_answers > _MOST_INTERIM_ANSWERS:
            raise http.client.HTTPException(f"the server sent more than {_MOST_INTERIM_ANSWERS} interim answers")
        return found


def _bounded(kind: type[Any], sockets: _Sockets) -> HTTPAdapter:
    """Return an adapter of class ``kind`` that registers its connections with ``sockets``."""

    class Bounded(kind):  # type: ignore[misc]
        def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
            super().init_poolmanager(*arguments, **options)
            bound(self.poolmanager)

        def proxy_manager_for(self, *arguments: Any, **options: Any) -> Any:
            manager = super().proxy_manager_for(*arguments, **options)
            bound(manager)
            return manager

    def bound(manager: PoolManager) -> None:
        pools = manager.pool_classes_by_scheme
        manager.pool_classes_by_scheme = {scheme: _watched(pool, sockets) for scheme, pool in pools.items()}

    adapter: HTTPAdapter = Bounded()
    return adapter


def _watched(pool: Any, sockets: _Sockets) -> Any:
    """Return a subclass of a connection pool that registers its connections with ``sockets``."""

    class Connection(pool.ConnectionCls):  # type: ignore[misc]
        response_class = _Response

        def _new_conn(self) -> socket.socket:
            connection: socket.socket = super()._new_conn()
            sockets.add(connection)
            return connection

    return type(pool.__name__, (pool,), {"ConnectionCls": Connection})
