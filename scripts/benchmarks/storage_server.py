"""Kubo's RPC, Pinata's APIs and a gateway on loopback. Uploads are discarded; downloads serve one file.

The servers avoid work that would disturb the measurement: they return the given CID without computing it.
Arguments: the file, its CID, a folder with the file in an embedded store. Prints the port.
"""

from __future__ import annotations

import itertools
import json
import shutil
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

from decloud_pl.store.embedded import EmbeddedStore
from decloud_pl.store.ipfs.car import CONTENT_TYPE

_PIECE = 1 << 20


def handler_of(file: Path, cid: str, store: EmbeddedStore) -> type[BaseHTTPRequestHandler]:
    """Return a handler class for one file."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        offsets: ClassVar[dict[str, int]] = {}
        numbers = itertools.count()

        def do_POST(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/v3/files" and self.headers.get("Tus-Resumable"):
                self.answer(201, None, {"Location": f"/v3/files/{next(self.numbers)}"})
                return
            self.discard()
            self.answer(
                200,
                {
                    "/api/v0/version": {"Version": "0.39.0"},
                    "/api/v0/add": {"Name": "x", "Hash": cid, "Size": "1"},
                    "/pinning/pinFileToIPFS": {"IpfsHash": cid},
                }.get(path, {"data": {"cid": cid}}),
            )

        def do_PATCH(self) -> None:
            received = self.discard()
            offset = self.offsets.get(self.path, 0) + received
            self.offsets[self.path] = offset
            done = {"Upload-Cid": cid} if offset == file.stat().st_size else {}
            self.answer(204, None, {"Upload-Offset": str(offset), **done})

        def do_GET(self) -> None:
            if "format=car" not in self.path or "plain" in self.path:
                self.send_file()
                return
            self.send_response(200)
            self.send_header("Content-Type", f"{CONTENT_TYPE}; version=1; order=dfs; dups=y")
            self.send_header("Connection", "close")
            self.end_headers()
            for section in store.car(cid):
                self.wfile.write(section)
            self.close_connection = True

        def send_file(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(file.stat().st_size))
            self.end_headers()
            with file.open("rb") as source:
                shutil.copyfileobj(source, self.wfile, _PIECE)

        def answer(self, status: int, document: object, headers: dict[str, str] | None = None) -> None:
            body = b"" if document is None else json.dumps(document).encode()
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def discard(self) -> int:
            """Read a body of known length or in chunks; return its number of bytes."""
            if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                return self.skip(int(self.headers.get("Content-Length") or 0))
            received = 0
            while size := int(self.rfile.readline(), 16):
                received += self.skip(size)
                self.rfile.readline()
            self.rfile.readline()
            return received

        def skip(self, size: int) -> int:
            left = size
            while left:
                left -= len(self.rfile.read(min(left, _PIECE)))
            return size

        def log_message(self, *arguments: object) -> None:
            """Do not log to the console."""

    return Handler


def main(file: str, cid: str, folder: str) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(Path(file), cid, EmbeddedStore(Path(folder))))
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:4])
