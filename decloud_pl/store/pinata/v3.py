"""Pinata's API v3, with a JWT. Files over 100 MB use resumable uploads.

https://docs.pinata.cloud/api-reference/endpoint/upload-a-file
"""

from __future__ import annotations

from pathlib import Path

from decloud_pl.store import Progress
from decloud_pl.store.pinata.http import FileForm, PinataHttp
from decloud_pl.store.pinata.tus import PIECE, TusUploads
from decloud_pl.store.sending import SentFile, checked_file

LARGEST_SINGLE_REQUEST = 100_000_000
"""Bytes. Pinata requires resumable uploads above 100 MB."""


class PinataV3:
    """Uploads files and searches for CIDs with API v3 and a JWT.

    Args:
        http: sends the requests.
        api_url: the address for searches.
        upload_url: the address for uploads.
        state: a folder in which unfinished large uploads are recorded; None keeps the records in memory.
        largest_single: the most bytes to send in one request; larger files are sent in pieces.
    """

    version = "v3"

    def __init__(
        self,
        http: PinataHttp,
        api_url: str,
        upload_url: str,
        *,
        state: Path | None = None,
        largest_single: int = LARGEST_SINGLE_REQUEST,
    ) -> None:
        self._http = http
        self._api_url = api_url
        self._files_url = f"{upload_url}/v3/files"
        self._resumable = TusUploads(http, self._files_url, state=state, piece=min(PIECE, largest_single))
        self._largest_single = largest_single

    def upload(self, path: Path, profile: str, progress: Progress | None) -> str:
        """Send a file; return the CID from Pinata, which chooses the CID version."""
        if checked_file(path) > self._largest_single:
            return self._resumable.send(path, profile, progress)
        with SentFile(path, progress) as file:
            # Set explicitly: the default may be private, and gateways do not serve private files.
            form = FileForm({"network": "public", "name": file.name}, file)
            answer = self._http.request("POST", self._files_url, data=form, headers={"Content-Type": form.content_type})
        return answer.text("data", "cid")

    def has(self, cid: str) -> bool:
        answer = self._http.request("GET", f"{self._api_url}/v3/files/public?cid={cid}")
        data = answer.document.get("data") if isinstance(answer.document, dict) else None
        files = data.get("files") if isinstance(data, dict) else None
        return any(isinstance(file, dict) and file.get("cid") == cid for file in files or [])
