"""An HTTP proxy with CONNECT on loopback. It connects to this machine for every host and maps only the port."""

from __future__ import annotations

import contextlib
import select
import socket
import socketserver
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_LONGEST_HEAD = 1 << 16


@dataclass
class ForwardProxy:
    """Serves while the context is open.

    Attributes:
        ports: the local port for each port of a remote host.
        context: if set, clients connect to the proxy with TLS.
        seen: (method, ``host:port`` of the target) of each request.
        logins: the Proxy-Authorization header of each request; empty if missing.
    """

    ports: Mapping[int, int]
    context: ssl.SSLContext | None = None
    seen: list[tuple[str, str]] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    address: str = ""
    """The host and port of the proxy."""

    def __enter__(self) -> Self:
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    if outer.context is None:
                        outer.serve(self.request)
                        return
                    with outer.context.wrap_socket(self.request, server_side=True) as client:
                        outer.serve(client)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head and len(head) < _LONGEST_HEAD:
            part = client.recv(1 << 12)
            if not part:
                return
            head += part
        line, _, rest = head.partition(b"\r\n")
        method, target, version = line.decode().split(" ")
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        port = parts.port or 80
        self.seen.append((method, f"{parts.hostname}:{port}"))
        fields = dict(part.split(": ", 1) for part in rest.partition(b"\r\n\r\n")[0].decode().split("\r\n"))
        self.logins.append({name.lower(): value for name, value in fields.items()}.get("proxy-authorization", ""))
        with socket.create_connection(("127.0.0.1", self.ports[port])) as server:
            if method == "CONNECT":
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                server.sendall(rest.partition(b"\r\n\r\n")[2])
            else:
                path = parts._replace(scheme="", netloc="").geturl() or "/"
                server.sendall(f"{method} {path} {version}\r\n".encode() + rest)
            _join(client, server)


def _join(one: socket.socket, other: socket.socket) -> None:
    """Copy data in both directions until one side closes."""
    to = {one: other, other: one}
    while True:
        for ready in select.select([one, other], [], [])[0]:
            data = ready.recv(1 << 16)
            if not data:
                return
            while isinstance(ready, ssl.SSLSocket) and ready.pending():
                data += ready.recv(1 << 16)
            to[ready].sendall(data)
