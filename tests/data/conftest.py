"""A web server on loopback that shows each fault that a test needs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class WebServer:
    """Serves ``files`` by path.

    Attributes:
        url: its address.
        files: content by path, with the leading slash.
        headers: extra headers by path.
        faults: faults by path, one for each request, in order. ``cut`` closes the connection half-way, ``ignore-range``
            sends everything, ``wrong-range`` sends another part, ``part-unasked`` declares the whole file as a part,
            ``redirect`` redirects to the same path, ``length:X`` declares the length X, and a number is an HTTP status.
        seen: path and Range header of each request.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    faults: dict[str, list[str | int]] = field(default_factory=dict)
    seen: list[tuple[str, str | None]] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    web: WebServer

    def do_GET(self) -> None:
        web, path, wanted = self.web, self.path, self.headers.get("Range")
        web.seen.append((path, wanted))
        faults = web.faults.get(path, [])
        fault = faults.pop(0) if faults else ""
        content = web.files.get(path)
        if isinstance(fault, int) or content is None:
            self.send_error(fault if isinstance(fault, int) else 404)
            return
        if fault == "redirect":
            self.send_response(302)
            self.send_header("Location", path)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and fault != "ignore-range" else 0
        if start >= len(content) and wanted:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if fault == "wrong-range":
            start = max(0, start - 1)
        self.send_response(206 if (wanted and fault != "ignore-range") or fault == "part-unasked" else 200)
        body = content[start:]
        length = fault.removeprefix("length:") if fault.startswith("length:") else str(len(body))
        self.send_header("Content-Length", length)
        if wanted and fault != "ignore-range":
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        for name, value in web.headers.get(path, {}).items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the client may have closed the connection
            self.wfile.write(body[: len(body) // 2] if fault == "cut" else body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's parameter
        pass


@pytest.fixture
def web() -> Iterator[WebServer]:
    web = WebServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"web": web}))
    web.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield web
    server.shutdown()
    thread.join()
    server.server_close()
