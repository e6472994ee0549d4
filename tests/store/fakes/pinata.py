"""A fake server for Pinata's API v1 and v3: login, scopes, limits, duplicates, resumable uploads."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field

from tests.store.fakes.oracle import cid_of
from tests.store.fakes.server import Request, Server

KEY = "0123456789abcdefkey0"
SECRET = "5ec2e7" * 10 + "beef"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJqd3QtYm9keSJ9.c2lnbmF0dXJlLW9mLXRoZS1qd3Q"


@dataclass
class Resumable:
    """One tus upload."""

    length: int
    name: str
    data: bytearray = field(default_factory=bytearray)


@dataclass
class FakePinata(Server):
    """``files`` are by CID. ``lie`` replaces the correct CID in answers."""

    scopes: set[str] = field(default_factory=lambda: {"pinFileToIPFS", "pinList", "files:write", "files:read"})
    files: dict[str, bytes] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    networks: list[str] = field(default_factory=list)
    lie: str | None = None
    uploads: int = 0
    largest: int = 100_000_000
    resumables: dict[str, Resumable] = field(default_factory=dict)
    cut_pieces: list[int] = field(default_factory=list)
    location_host: str = ""

    def handle(self, request: Request) -> None:
        route = (request.method, request.path)
        if route == ("GET", "/data/testAuthentication"):
            if self._login(request, None):
                request.answer(200, {"message": "Congratulations! You are communicating with the Pinata API!"})
        elif route == ("POST", "/pinning/pinFileToIPFS"):
            self._pin_file(request)
        elif route == ("GET", "/data/pinList"):
            if self._login(request, "pinList"):
                rows = [{"ipfs_pin_hash": cid} for cid in self.files if request.query["hashContains"] in cid]
                request.answer(200, {"count": len(rows), "rows": rows})
        elif route == ("GET", "/v3/files/public"):
            if self._login(request, "files:read"):
                found = [{"id": "1", "cid": cid} for cid in self.files if request.query["cid"] == cid]
                request.answer(200, {"data": {"files": found, "next_page_token": ""}})
        elif route == ("POST", "/v3/files"):
            self._file(request)
        elif request.path.startswith("/v3/files/up-"):
            self._resume(request)
        else:
            request.answer(404, {"error": {"reason": "INVALID_ROUTE", "details": "not found"}})

    def _login(self, request: Request, scope: str | None) -> bool:
        bearer = request.headers.get("Authorization")
        pair = (request.headers.get("pinata_api_key"), request.headers.get("pinata_secret_api_key"))
        if bearer != f"Bearer {JWT}" and pair != (KEY, SECRET):
            shown = bearer or pair[1] or "nothing"  # a careless server repeats the credentials
            error = {"reason": "INVALID_CREDENTIALS", "details": f"Invalid/expired credentials: {shown}"}
            request.answer(401, {"error": error})
            return False
        if scope is not None and scope not in self.scopes:
            error = {"reason": "NO_SCOPES_FOUND", "details": "This key does not have the required scopes"}
            request.answer(403, {"error": error})
            return False
        return True

    def _keep(self, data: bytes, version: int, name: str) -> tuple[str, bool]:
        cid = cid_of(data, version) if self.lie is None else self.lie
        duplicate = cid in self.files
        self.files[cid] = data
        self.names.append(name)
        self.uploads += 1
        return cid, duplicate

    def _pin_file(self, request: Request) -> None:
        assert "Content-Length" in request.headers
        if not self._login(request, "pinFileToIPFS"):
            return
        parts = {part.name: part for part in request.parts()}
        options, metadata = (json.loads(parts[name].data) for name in ("pinataOptions", "pinataMetadata"))
        cid, duplicate = self._keep(parts["file"].data, options["cidVersion"], metadata["name"])
        answer = {"IpfsHash": cid, "PinSize": len(parts["file"].data), "Timestamp": "2026-01-01T00:00:00.000Z"}
        request.answer(200, {**answer, **({"isDuplicate": True} if duplicate else {})})

    def _file(self, request: Request) -> None:
        if not self._login(request, "files:write"):
            return
        if request.headers.get("Tus-Resumable"):
            self._create(request)
            return
        if int(request.headers.get("Content-Length") or 0) > self.largest + 2000:
            request.answer(413, {"error": {"reason": "PAYLOAD_TOO_LARGE", "details": "use resumable uploads"}})
            return
        parts = {part.name: part for part in request.parts()}
        self.networks.append(parts["network"].data.decode() if "network" in parts else "private")
        cid, duplicate = self._keep(parts["file"].data, 1, parts["name"].data.decode())
        answer = {"id": "1", "name": "n", "cid": cid, "size": len(parts["file"].data), "network": "public"}
        request.answer(200, {"data": {**answer, **({"is_duplicate": True} if duplicate else {})}})

    def _create(self, request: Request) -> None:
        pairs = (pair.split(" ") for pair in request.headers["Upload-Metadata"].split(","))
        metadata = {key: base64.b64decode(value).decode() for key, value in pairs}
        self.networks.append(metadata.get("network", "private"))
        key = f"up-{len(self.resumables)}"
        self.resumables[key] = Resumable(int(request.headers["Upload-Length"]), metadata["filename"])
        request.answer(201, headers={"Location": f"{self.location_host}/v3/files/{key}"})

    def _resume(self, request: Request) -> None:
        if not self._login(request, "files:write"):
            return
        upload = self.resumables.get(request.path.rsplit("/", 1)[1])
        if upload is None:
            request.answer(404)
            return
        if request.method == "PATCH":
            if int(request.headers["Upload-Offset"]) != len(upload.data):
                request.answer(409)
                return
            assert "Content-Length" in request.headers, "a piece must have a Content-Length"
            if self.cut_pieces:
                upload.data += request.handler.rfile.read(self.cut_pieces.pop(0))
                request.hang_up()
                return
            upload.data += request.body()
            if len(upload.data) == upload.length:
                self._keep(bytes(upload.data), 1, upload.name)
        headers = {"Upload-Offset": str(len(upload.data)), "Tus-Resumable": "1.0.0"}
        if len(upload.data) == upload.length:
            headers["Upload-Cid"] = cid_of(bytes(upload.data), 1) if self.lie is None else self.lie
        request.answer(204 if request.method == "PATCH" else 200, headers=headers)
