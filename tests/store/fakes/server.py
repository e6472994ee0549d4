"""An HTTP server in this process that records requests and can answer with faults."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

Fault = Callable[["Request"], None]
"""Answers a request instead of the server."""


@dataclass
class Part:
    """One field of a multipart form."""

    name: str
    filename: str | None
    data: bytes


@dataclass
class Request:
    """One request. Its body is read on demand."""

    handler: BaseHTTPRequestHandler
    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    server: Server
    _body: bytes | None = None

    def body(self) -> bytes:
        """Read the whole body, sent with a length or in chunks."""
        if self._body is None:
            stream = self.handler.rfile
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                self._body = b""
                while size := int(stream.readline(), 16):
                    self._body += stream.read(size)
                    stream.readline()
                stream.readline()
            else:
                self._body = stream.read(int(self.headers.get("Content-Length") or 0))
        return self._body

    def parts(self) -> list[Part]:
        """Read the fields of a multipart form."""
        boundary = re.search(r'boundary="?([^";]+)', self.headers.get("Content-Type", ""))
        assert boundary is not None, "the request is not a form"
        found = []
        pieces = (b"\r\n" + self.body()).split(b"\r\n--" + boundary[1].encode())
        assert pieces[-1].startswith(b"--"), "the form is incomplete"
        for piece in pieces[1:-1]:
            head, _, data = piece.partition(b"\r\n\r\n")
            name = re.search(rb'[; ]name="([^"]*)"', head)
            filename = re.search(rb'filename="([^"]*)"', head)
            found.append(Part(name[1].decode() if name else "", filename[1].decode() if filename else None, data))
        return found

    def answer(self, status: int, document: Any = None, headers: Mapping[str, str] | None = None) -> None:
        """Send a JSON answer. Read the body first, because a client does not read an answer while it sends."""
        self.body()
        data = b"" if document is None else json.dumps(document).encode()
        self.send(status, data, {"Content-Type": "application/json", **(headers or {})})

    def send(self, status: int, data: bytes, headers: Mapping[str, str], *, length: int | None = None) -> None:
        handler = self.handler
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(data) if length is None else length))
        handler.end_headers()
        if self.method != "HEAD":
            handler.wfile.write(data)

    def hang_up(self) -> None:
        """Close the connection without an answer."""
        self.handler.close_connection = True


def status(code: int, **headers: str) -> Fault:
    """Return a fault that answers with a status, and with an error document as Pinata does."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request: request.answer(code, {"error": {"reason": "TOLD_TO_FAIL", "details": "as asked"}}, named)


def silent(request: Request) -> None:
    """Send no answer until the server ends."""
    request.server.ended.wait(30)
    request.hang_up()


def cut_request(request: Request) -> None:
    """Close the connection in the middle of the request."""
    request.handler.rfile.read(1000)
    request.hang_up()


def cut_answer(request: Request) -> None:
    """Read the request and close the connection in the middle of the answer."""
    request.body()
    request.send(200, b'{"IpfsHa', {"Content-Type": "application/json"}, length=500)
    request.hang_up()


def not_json(request: Request) -> None:
    """Send the page of a captive portal."""
    request.body()
    request.send(200, b"<html>Please log in</html>", {"Content-Type": "text/html"})


@dataclass
class Server:
    """Serves while the context is open.

    Each of ``faults`` answers one of the next requests that ``faulty`` matches. `handle` answers all others.
    """

    faults: list[Fault] = field(default_factory=list)
    faulty: Callable[[Request], bool] = lambda request: True
    log: list[tuple[str, str]] = field(default_factory=list)
    seen_headers: list[dict[str, str]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def handle(self, request: Request) -> None:
        raise NotImplementedError

    def __enter__(self) -> Any:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 60

            def serve(self) -> None:
                parts = urlsplit(self.path)
                query = {key: values[0] for key, values in parse_qs(parts.query).items()}
                request = Request(self, self.command, parts.path, query, dict(self.headers.items()), outer)
                outer.log.append((self.command, self.path))
                outer.seen_headers.append(dict(self.headers.items()))
                try:
                    if outer.faults and outer.faulty(request):
                        outer.faults.pop(0)(request)
                    else:
                        outer.handle(request)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            do_GET = do_POST = do_PATCH = do_HEAD = serve  # noqa: N815

            def log_message(self, *arguments: object) -> None:
                """Print nothing to the console."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def count(self, method: str, path: str) -> int:
        """Return the number of requests with this method and path, regardless of the answers."""
        return sum(entry[0] == method and entry[1].startswith(path) for entry in self.log)


__all__ = ["Fault", "Request", "Server", "cut_answer", "cut_request", "not_json", "silent", "status"]
