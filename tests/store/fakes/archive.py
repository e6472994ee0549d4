"""The archive of `tests.store.own.archive` at the wire; it is a gateway for what it keeps."""

from __future__ import annotations

from dataclasses import dataclass

from tests.store.fakes.server import Request
from tests.store.fakes.shelf import FakeGateway

TOKEN = "a-token-of-the-archive"


@dataclass
class FakeArchive(FakeGateway):
    """Takes files from whoever has the token, and delivers them to everybody."""

    def handle(self, request: Request) -> None:
        knows = request.headers.get("Authorization") == f"Bearer {TOKEN}"
        if request.method == "POST" or request.path == "/login":
            data = request.body()
            if knows and request.method == "POST":
                self.files[request.path.removeprefix("/ipfs/")] = data
            request.answer(200 if knows else 401)
            return
        super().handle(request)
