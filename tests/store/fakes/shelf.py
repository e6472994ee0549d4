"""A gateway at the wire that delivers what stands on its shelf."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.store.fakes.server import Request, Server


@dataclass
class FakeGateway(Server):
    """Serves ``files`` by CID as plain files, with ranges; anything else is not found."""

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
