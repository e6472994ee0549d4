"""Servers that do one hostile thing to every client, and hostile texts."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.store.fakes.server import Request, Server

Behaviour = Callable[[Request], None]
PIECE = bytes(1 << 16)

TEXTS = {
    "an escape sequence": "\x1b[2J\x1b]0;owned\x07 text",
    "a hyperlink": "\x1b]8;;http://evil.test\x1b\\click\x1b]8;;\x1b\\",
    "a C1 control": "\x9b31m\x9d0;owned\x9c",
    "bidirectional characters": "\u202egpj.exe\u2066 \u200f\ufeff",
    "forged lines": "no\r\n2026-01-01 00:00:00 INFO Round 7: claimed 9 SOL.\r\n\x0b\x0c\x85\u2028\u2029",
    "markup": "[bold red]<script>alert(1)</script>[/] &amp; {{7*7}} ${oc.env:HOME} %s %n",
    "quotes and a formula": '=HYPERLINK("http://evil.test","x")\'"`;,\\',
    "five megabytes": "A\u0301\x1b" * (5 << 19),
    "nulls and surrogates": "\x00\x00\ud800\udfff\uffff",
}
"""Hostile texts."""


class _Wire(Server):
    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__()
        self.behaviour = behaviour

    def handle(self, request: Request) -> None:
        try:
            self.behaviour(request)
        finally:
            request.hang_up()


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[str]:
    """Yield the address of a server with this behaviour."""
    with _Wire(behaviour) as server:
        yield server.url


def raw(*parts: bytes) -> Behaviour:
    """Send bytes unchanged."""

    def send(request: Request) -> None:
        for part in parts:
            request.handler.wfile.write(part)

    return send


def answer(body: bytes | str, kind: str = "application/json", status: str = "200 OK", *headers: str) -> Behaviour:
    """Send a complete answer with its length."""
    data = body.encode(errors="surrogatepass") if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(data)}", *headers]

    def send(request: Request) -> None:
        request.body()
        request.handler.wfile.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + data)

    return send


def endless(head: bytes, piece: bytes = PIECE) -> Behaviour:
    """Send until the client disconnects."""

    def send(request: Request) -> None:
        request.handler.wfile.write(head)
        while not request.server.ended.is_set():
            request.handler.wfile.write(piece)

    return send


def dripping(head: bytes) -> Behaviour:
    """Send a byte every 50 ms until the client disconnects."""

    def send(request: Request) -> None:
        request.handler.wfile.write(head)
        while not request.server.ended.wait(0.05):
            request.handler.wfile.write(b"x")

    return send


def silent(request: Request) -> None:
    """Accept the request and send no answer."""
    request.server.ended.wait(30)


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
NESTED = b"[" * 200_000

ANSWERS: dict[str, Behaviour] = {
    "an endless redirect": endless(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n\r\n"),
    "a redirect to itself": lambda request: request.answer(302, headers={"Location": request.handler.path}),
    "a redirect to a file": raw(b"HTTP/1.1 301 x\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n"),
    "a redirect of 60 kB": raw(b"HTTP/1.1 307 x\r\nLocation: http://" + b"a" * 60_000 + b"\r\n\r\n"),
    "a compressed bomb": raw(OK + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(bytes(1 << 26))),
    "a compressed bomb in another form": raw(OK + b"Content-Encoding: deflate, br\r\n\r\n", b"x" * 1000),
    "an endless chunk size": endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1" * (1 << 16)),
    "a chunk of a negative size": raw(OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n"),
    "endless trailers": endless(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 1000),
    "endless headers": endless(OK, b"X-More: and more\r\n" * 1000),
    "an endless header line": endless(OK + b"X-Long: "),
    "not HTTP": raw(b"SSH-2.0-OpenSSH_9.0\r\n\r\n"),
    "an invalid status": raw(b"HTTP/1.1 99999 \x1b[31mno\r\n\r\n"),
    "an endless status line": endless(b"HTTP/1.1 "),
    "a negative length": raw(OK + b"Content-Length: -1\r\n\r\n{}"),
    "a length of 30 digits": raw(OK + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n{}"),
    "two lengths": raw(OK + b"Content-Length: 2\r\nContent-Length: 9000\r\n\r\n{}"),
    "endless 100 Continue": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "no bytes": raw(),
    "silence": silent,
    "a login page": answer("<html>Please log in</html>", "text/html"),
    "an empty answer": answer(b""),
    "endless brackets": answer(NESTED),
    "a wait of thirty years": answer(b"slow", "text/plain", "429 Slow Down", "Retry-After: 999999999"),
    "a too large wait": answer(b"slow", "text/plain", "503 No", "Retry-After: " + "9" * 400),
    "an error of five megabytes": answer(TEXTS["five megabytes"], "text/plain", "500 \x1b[2JNo"),
    "a refusal in escape sequences": answer(json.dumps({"error": TEXTS["an escape sequence"]}), status="403 \x9b1m"),
}
"""Hostile answers for every client."""
DRIPPING: dict[str, Behaviour] = {
    "a body byte by byte": dripping(OK + b"\r\n"),
    "headers byte by byte": dripping(OK + b"X-Slow: "),
    "an endless body": endless(OK + b"\r\n"),
}
"""Answers that end within seconds only if the client has its own short deadline."""
