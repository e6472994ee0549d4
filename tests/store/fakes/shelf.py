"""A fake gateway that serves a dictionary of files."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.store.fakes.server import Request, Server


@dataclass
class FakeGateway(Server):
    """Serves ``files`` by CID as plain files, with range requests, and answers 404 for all others."""

    files: dict[str, bytes] = field(default_factory=dict)

    def handle(self, request: Request) -> None:
        data = self.files.get(request.path.removeprefix("/ipfs/"))
        if data is None:
            request.send(404, b"", {})
            return
        asked = request.headers.get("Range", "")
        if asked:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
            request.send(206, data[start:], headers)
            return
        request.send(200, data, {"Content-Type": "application/octet-stream"})
