"""A form with a file in it (RFC 7578), sent in pieces: the file is never in memory as a whole."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping

from decloud_pl.errors import StoreError
from decloud_pl.store.sending import SentFile

_PIECE = 1 << 18


class FileForm:
    """The body of one request: its length is known, and it can be gone through once.

    ``fields`` are names and values in ASCII; the file comes after them and is named ``file``.
    """

    def __init__(self, fields: Mapping[str, str], file: SentFile) -> None:
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        head = [f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n' for name in fields]
        self._head = "\r\n".join(map("".join, zip(head, fields.values(), strict=True))).encode("ascii")
        self._head += (
            f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{file.name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode("ascii")
        self._file = file
        self._tail = f"\r\n--{boundary}--\r\n".encode("ascii")

    def __len__(self) -> int:
        return len(self._head) + self._file.size + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        left = self._file.size
        while data := self._file.read(min(_PIECE, left)):
            left -= len(data)
            yield data
        if left:
            raise StoreError("The file became shorter while it was sent.", fix="Send it again when it is complete.")
        yield self._tail
