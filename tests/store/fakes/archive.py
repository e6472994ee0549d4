"""A fake server for `tests.store.own.archive`. It is also a gateway for its files."""

from __future__ import annotations

from dataclasses import dataclass

from tests.store.fakes.server import Request
from tests.store.fakes.shelf import FakeGateway

TOKEN = "a-token-of-the-archive"


@dataclass
class FakeArchive(FakeGateway):
    """Accepts files from clients with the token and serves them to everyone."""

    def handle(self, request: Request) -> None:
        knows = request.headers.get("Authorization") == f"Bearer {TOKEN}"
        if request.method == "POST" or request.path == "/login":
            data = request.body()
            if knows and request.method == "POST":
                self.files[request.path.removeprefix("/ipfs/")] = data
            request.answer(200 if knows else 401)
            return
        super().handle(request)
