"""Pinata's API v1: ``pinFileToIPFS`` with a key and its secret (or a JWT with the old scopes).

https://docs.pinata.cloud/api-reference/endpoint/ipfs/pin-file-to-ipfs
"""

from __future__ import annotations

import json
from pathlib import Path

from decloud_pl.store import Progress
from decloud_pl.store.ipfs.cid import PROFILES
from decloud_pl.store.pinata.http import FileForm, PinataHttp
from decloud_pl.store.sending import SentFile


class PinataV1:
    """Uploads files and searches for CIDs with API v1 at ``api_url``."""

    version = "v1"

    def __init__(self, http: PinataHttp, api_url: str) -> None:
        self._http = http
        self._api_url = api_url

    def upload(self, path: Path, profile: str, progress: Progress | None) -> str:
        """Send a file in one streamed request; return the CID from Pinata."""
        with SentFile(path, progress) as file:
            # Without this option, Pinata chooses the CID version.
            options = json.dumps({"cidVersion": PROFILES[profile].cid_version})
            form = FileForm({"pinataOptions": options, "pinataMetadata": json.dumps({"name": file.name})}, file)
            answer = self._http.request(
                "POST",
                f"{self._api_url}/pinning/pinFileToIPFS",
                data=form,
                headers={"Content-Type": form.content_type},
            )
        return answer.text("IpfsHash")

    def has(self, cid: str) -> bool:
        answer = self._http.request("GET", f"{self._api_url}/data/pinList?status=pinned&hashContains={cid}")
        rows = answer.document.get("rows") if isinstance(answer.document, dict) else None
        return any(isinstance(row, dict) and row.get("ipfs_pin_hash") == cid for row in rows or [])
