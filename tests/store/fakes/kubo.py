"""A fake server with the part of Kubo's ``/api/v0`` that the store uses."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.store.fakes.oracle import cid_of
from tests.store.fakes.server import Request, Server


@dataclass
class FakeKubo(Server):
    """``files`` are by CID. ``lie`` replaces the correct CID in answers. ``basic`` is the required login."""

    version: str = "0.39.0"
    files: dict[str, bytes] = field(default_factory=dict)
    pins: set[str] = field(default_factory=set)
    lie: str | None = None
    adds: list[dict[str, str]] = field(default_factory=list)
    disk_full: bool = False

    @property
    def multiaddr(self) -> str:
        return f"/ip4/127.0.0.1/tcp/{urlsplit(self.url).port}/http"

    def handle(self, request: Request) -> None:
        if request.method != "POST":  # Kubo accepts no other method
            request.answer(405)
            return
        command = request.path.removeprefix("/api/v0/")
        if command == "version":
            request.answer(200, {"Version": self.version, "Commit": "", "Repo": "16", "System": "amd64/linux"})
        elif command == "add":
            self._add(request)
        elif command == "pin/ls":
            self._pinned(request)
        else:
            request.answer(404)

    def _error(self, request: Request, message: str) -> None:
        request.answer(500, {"Message": message, "Code": 0, "Type": "error"})

    def _add(self, request: Request) -> None:
        (part,) = request.parts()
        self.adds.append(request.query)
        if self.disk_full:
            self._error(request, "write /data/ipfs/blocks/X3/put-42: no space left on device")
            return
        version = int(request.query.get("cid-version", "0"))
        raw = request.query["raw-leaves"].lower() == "true"  # Go also accepts "True"
        assert raw == (version == 1), "the fake supports only Kubo's two default layouts"
        assert request.query.get("chunker") == "size-262144"
        cid = cid_of(part.data, version) if self.lie is None else self.lie
        self.files[cid] = part.data
        if request.query["pin"].lower() == "true":
            self.pins.add(cid)
        request.answer(200, {"Name": part.filename, "Hash": cid, "Size": str(len(part.data))})

    def _pinned(self, request: Request) -> None:
        cid = request.query["arg"]
        if cid in self.pins:
            request.answer(200, {"Keys": {cid: {"Type": "recursive"}}})
        else:
            self._error(request, f"path '{cid}' is not pinned")
