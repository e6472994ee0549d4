"""Resumable uploads with Pinata's version of the tus protocol 1.0.0 (https://tus.io/protocols/resumable-upload).

Pinata returns the CID in the header ``Upload-Cid`` of its answer to the last piece. The URL of each unfinished upload
is stored in a file. So an upload resumes after a network failure or a restart of this process.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from decloud_pl.durable import make_private, write_atomically
from decloud_pl.errors import StoreRejected, StoreUnavailable
from decloud_pl.store import Progress
from decloud_pl.store.ipfs.unixfs import cid_of_file
from decloud_pl.store.pinata.http import Answer, PinataHttp
from decloud_pl.store.sending import SentFile

_VERSION = {"Tus-Resumable": "1.0.0"}
PIECE = 50 << 20
_TRIES_WITHOUT_PROGRESS = 3
_EXPIRED = (404, 410)


class TusUploads:
    """Resumable uploads to one server.

    Args:
        http: sends the requests.
        url: the address to which a request for a new upload is sent.
        state: a folder in which unfinished uploads are recorded; None keeps the records in memory.
        piece: the size of one piece in bytes.
    """

    def __init__(self, http: PinataHttp, url: str, *, state: Path | None, piece: int = PIECE) -> None:
        self._http = http
        self._url = url
        self._memory = _Memory(url, state)
        self._piece = piece

    def send(self, path: Path, profile: str, progress: Progress | None) -> str:
        """Send the part of a file that the server does not have yet; return the CID from the server.

        Raises:
            StoreUnavailable: the network or the server failed; the next call resumes the upload.
            StoreRejected: the server refused the upload.
        """
        with SentFile(path, progress) as file:
            # With the CID as the key, an upload never continues with the bytes of another file.
            key = str(cid_of_file(path, profile))
            location, offset = self._begin(file, key)
            cid = ""
            stuck = 0
            while offset < file.size or not cid:
                try:
                    answer = self._send_piece(location, file, offset)
                    cid = answer.headers.get("Upload-Cid", "")
                    moved = _offset(answer)
                except StoreUnavailable as error:
                    if error.retry_after is not None:
                        raise
                    moved = self._where(location)
                # Stop if the server accepts no more bytes, or loses bytes that it had accepted.
                stuck = 0 if moved > offset else stuck + 1
                if stuck >= _TRIES_WITHOUT_PROGRESS:
                    raise StoreUnavailable(
                        f"Pinata accepted no more bytes of the upload in {_TRIES_WITHOUT_PROGRESS} attempts."
                    )
                offset = moved
                if offset == file.size and not cid:
                    cid = self._finished_cid(location)
        self._memory.forget(key)
        return cid

    def _begin(self, file: SentFile, key: str) -> tuple[str, int]:
        """Find the file's unfinished upload or create an upload; return its URL and how many bytes the server has."""
        known = self._memory.recall(key)
        if known is not None:
            try:
                return known, self._where(known)
            except StoreRejected as error:
                if error.status not in _EXPIRED:
                    raise
                self._memory.forget(key)
        described = {"filename": file.name, "filetype": "application/octet-stream", "network": "public"}
        metadata = ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in described.items())
        headers = {**_VERSION, "Upload-Length": str(file.size), "Upload-Metadata": metadata}
        answer = self._http.request("POST", self._url, headers=headers)
        location = urljoin(self._url, answer.headers.get("Location", ""))
        if urlsplit(location)[:2] != urlsplit(self._url)[:2] or location == self._url:
            raise StoreRejected(
                "Pinata redirects the upload to an invalid URL or to another host, which must not get the key.",
                fix="Check storage.pinata_upload_url.",
            )
        self._memory.remember(key, location)
        return location, 0

    def _send_piece(self, location: str, file: SentFile, offset: int) -> Answer:
        headers = {**_VERSION, "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        return self._http.request("PATCH", location, data=_Piece(file, offset, self._piece), headers=headers)

    def _where(self, location: str) -> int:
        return _offset(self._http.request("HEAD", location, headers=_VERSION))

    def _finished_cid(self, location: str) -> str:
        """Query the server for the CID of a complete upload whose last answer had no CID or was lost."""
        cid = self._http.request("HEAD", location, headers=_VERSION).headers.get("Upload-Cid", "")
        if not cid:
            raise StoreUnavailable("Pinata has the whole file but has not returned a CID yet.")
        return cid


def _offset(answer: Answer) -> int:
    text = answer.headers.get("Upload-Offset", "")
    if not (text.isascii() and text.isdigit()):
        raise StoreUnavailable("Pinata's answer has no valid Upload-Offset header.")
    return int(text)


class _Memory:
    """Remembers the URL of each unfinished upload, by the CID of the file."""

    def __init__(self, url: str, folder: Path | None) -> None:
        self._url = url
        self._folder = folder
        self._known: dict[str, str] = {}

    def recall(self, key: str) -> str | None:
        if self._folder is None:
            return self._known.get(key)
        try:
            location = json.loads(self._file(self._folder, key).read_text(encoding="utf-8"))["location"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        known = isinstance(location, str) and urlsplit(location)[:2] == urlsplit(self._url)[:2]
        return location if known else None

    def remember(self, key: str, location: str) -> None:
        self._known[key] = location
        if self._folder is not None:
            make_private(self._folder)
            write_atomically(self._file(self._folder, key), json.dumps({"location": location}).encode())

    def forget(self, key: str) -> None:
        self._known.pop(key, None)
        if self._folder is not None:
            self._file(self._folder, key).unlink(missing_ok=True)

    def _file(self, folder: Path, key: str) -> Path:
        server = hashlib.sha256(self._url.encode()).hexdigest()[:8]
        return folder / f"{key}.{server}.upload"


class _Piece(io.RawIOBase):
    """A part of a file as a request body of known length."""

    def __init__(self, file: SentFile, offset: int, most: int) -> None:
        self._file = file
        self._left = max(0, min(most, file.size - offset))
        self.len = self._left
        file.seek(offset)

    def tell(self) -> int:
        # The HTTP library uses it to find the length. Without a length, it would send a chunked body.
        return self.len - self._left

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data
