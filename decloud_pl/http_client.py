"""HTTP exchanges with servers that may be hostile: bounded in time, never decoded, and without redirects.

`requests` alone reads the whole body of a redirect, even of one that it does not follow, expands a compressed body
without a limit, and waits as long as a byte comes in now and then.
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
    """A redirect, which is not followed, or an answer without end."""


class BoundedSession(requests.Session):
    """A session whose connections are cut at a deadline. A context manager, for one exchange or a few.

    It follows no redirect. Bodies are read with `body`.

    Args:
        seconds: from entering the context until every connection is cut; reading raises `requests.Timeout` then.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.headers.update(IDENTITY)
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
        self._sockets.cut()  # an answer that was not read to its end still holds its connection
        super().close()
        self._sockets.close()

    def abort(self) -> None:
        """Cuts every connection, from any thread; whoever waits for one gets a `requests.RequestException`."""
        self._sockets.cut()

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002 - as `requests` names it
        # Where it finds a target, `requests` reads the body of the redirect, whatever it is told about following.
        return None

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:  # noqa: ARG002 - as `requests` names them
        """Takes the place of what `requests` reads of the environment; see `decloud_pl.proxies`.

        Raises:
            ConfigError: as `route_to`.
        """
        route = route_to(url)
        if verify is None or verify is True:
            verify = self.verify if route.certificates is None else str(route.certificates)
        found = {"all": route.proxy} if route.proxy else {}
        return {"proxies": found, "stream": stream, "verify": verify, "cert": cert}

    def request(self, *arguments: Any, **options: Any) -> requests.Response:
        """As `requests.Session.request`; the body stays unread.

        Raises:
            ConfigError: a proxy or certificates cannot be used.
            requests.Timeout: the deadline has passed, or the server was silent for too long.
            requests.RequestException: any other failure.
        """
        try:
            return super().request(*arguments, **{**options, "stream": True, "allow_redirects": False})
        except requests.RequestException as error:
            raise self._reason(error) from error

    def body(self, response: requests.Response, size: int) -> Iterator[bytes]:
        """The bytes of an answer as the server sent them, at most ``size`` at a time.

        Raises:
            requests.Timeout: the deadline has passed.
            requests.RequestException: the connection broke off, or the server compressed its answer unasked.
        """
        if response.headers.get("Content-Encoding", "identity").lower() not in ("identity", ""):
            raise requests.exceptions.ContentDecodingError("the answer is compressed, which was not asked for")
        try:
            # Not `stream`: for a chunked body that reads a line of any length.
            while chunk := response.raw.read(size, decode_content=False):
                yield chunk
        except (HTTPError, OSError, ValueError) as error:  # the last one for a chunk of a negative size
            raise self._reason(requests.ConnectionError("the connection broke off")) from error
        if self._sockets.is_cut:  # without a length, a cut looks like the end
            raise self._reason(requests.ConnectionError("the exchange was ended"))

    def _expire(self) -> None:
        self.expired = True
        self.abort()

    def _reason(self, error: requests.RequestException) -> requests.RequestException:
        return requests.Timeout("the exchange took too long") if self.expired else error


class WholeSession(BoundedSession):
    """Reads answers whole, of 1 MiB at most, before a library sees them that would read them without a limit."""

    def request(self, *arguments: Any, **options: Any) -> requests.Response:
        """As `BoundedSession.request`, with the body.

        Raises:
            UnusableAnswer: instead of a redirect, or of an answer that is too long.
        """
        response = super().request(*arguments, **options)
        try:
            body = self._whole(response)
        finally:
            response.close()
        response.raw = io.BytesIO(body)
        return response

    def _whole(self, response: requests.Response) -> bytes:
        if response.status_code in REDIRECTS:
            raise UnusableAnswer("the answer is a redirect")
        body = bytearray()
        try:
            for piece in self.body(response, _PIECE):
                body += piece
                if len(body) > _LONGEST_ANSWER:
                    raise UnusableAnswer("the answer does not end")
        except requests.ConnectionError as error:
            # `ipfshttpclient` takes a `ConnectionError` for a node that is not there.
            raise requests.exceptions.ChunkedEncodingError(*error.args) from error
        return bytes(body)


class _Sockets:
    """The connections of a session, to be cut from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self.is_cut = False

    def add(self, connection: socket.socket) -> None:
        # A second descriptor of the same connection: TLS takes the first one over.
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
            with contextlib.suppress(OSError):  # the other side was faster
                connection.shutdown(socket.SHUT_RDWR)


class _Response(http.client.HTTPResponse):
    """An answer that the server may put off a few times only: the library reads any number of "100 Continue"."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._interim_answers = 0

    def _read_status(self) -> tuple[str, int, str]:
        found: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]
        self._interim_answers += found[1] == http.client.CONTINUE
        if self._interim_answers > _MOST_INTERIM_ANSWERS:
            raise http.client.HTTPException("the server puts its answer off without end")
        return found


def _bounded(kind: type[Any], sockets: _Sockets) -> HTTPAdapter:
    """An adapter of a kind whose connections are known to ``sockets``."""

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
    """A class of connection pools like a given one."""

    class Connection(pool.ConnectionCls):  # type: ignore[misc]
        response_class = _Response

        def _new_conn(self) -> socket.socket:
            connection: socket.socket = super()._new_conn()
            sockets.add(connection)
            return connection

    return type(pool.__name__, (pool,), {"ConnectionCls": Connection})
