"""Pinata (https://pinata.cloud), a service that pins files for users without a public IPFS node."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from decloud_pl.retry import Retry
from decloud_pl.store import Progress, Stored
from decloud_pl.store.ipfs.cid import DEFAULT_PROFILE, Cid
from decloud_pl.store.pinata.credentials import PinataCredentials
from decloud_pl.store.pinata.http import PinataHttp, checked_url
from decloud_pl.store.pinata.v1 import PinataV1
from decloud_pl.store.pinata.v3 import LARGEST_SINGLE_REQUEST, PinataV3
from decloud_pl.store.sending import checked_file

__all__ = ["API_URL", "UPLOAD_URL", "PinataCredentials", "PinataStore"]

API_URL = "https://api.pinata.cloud"
UPLOAD_URL = "https://uploads.pinata.cloud"


class PinataStore:
    """A store at Pinata. It uses API v3 if the credentials include a JWT, otherwise API v1.

    Args:
        credentials: a JWT, an API key with its secret, or both.
        api_url: the address for account requests, for searches, and for uploads with API v1.
        upload_url: the address for uploads with API v3.
        timeout: for how many seconds Pinata may be silent before a request fails.
        state: a folder in which unfinished large uploads are recorded; None keeps the records in memory.
        retry: how to retry after temporary failures.
        largest_single: with API v3, the size in bytes of the largest file that is sent in one request.

    Raises:
        ConfigError: an address is not an https URL, or the proxy or certificate settings of this machine are invalid.
    """

    name = "pinata"

    def __init__(
        self,
        credentials: PinataCredentials,
        *,
        api_url: str = API_URL,
        upload_url: str = UPLOAD_URL,
        timeout: float = 60.0,
        state: Path | None = None,
        retry: Retry | None = None,
        largest_single: int = LARGEST_SINGLE_REQUEST,
    ) -> None:
        api_url = checked_url("pinata_api_url", api_url)
        upload_url = checked_url("pinata_upload_url", upload_url)
        self._credentials = credentials
        self._http = PinataHttp(credentials, timeout=timeout)
        self._api_url = api_url
        self._api: PinataV1 | PinataV3
        if credentials.jwt:
            self._api = PinataV3(self._http, api_url, upload_url, state=state, largest_single=largest_single)
        else:
            self._api = PinataV1(self._http, api_url)
        self._retry = retry or Retry()

    @classmethod
    def from_secrets(cls, secrets: Mapping[str, str], *, state: str, **settings: Any) -> PinataStore:
        """Create a store from the secrets and settings of ``conf/storage/pinata.yaml``.

        Raises:
            ConfigError: the credentials are missing or incomplete, or an address is not an https URL.
        """
        names = ("pinata_api_key", "pinata_secret_key", "pinata_jwt")
        credentials = PinataCredentials(*(secrets.get(name, "") for name in names))
        return cls(credentials, state=Path(state).expanduser(), **settings)

    def put(self, path: Path, profile: str = DEFAULT_PROFILE, *, progress: Progress | None = None) -> Stored:
        """Upload and pin a file. The upload is streamed.

        Raises:
            StoreUnavailable: Pinata cannot be reached, is overloaded, or limits the request rate.
            StoreRejected: the credentials, their permissions or the plan's limits do not allow the upload.
            StoreError: the file cannot be read.
        """
        size = checked_file(path)
        cid = self._retry.call(lambda: self._api.upload(path, profile, progress))
        # A message may quote the CID, and a server may return the credentials instead of a CID.
        return Stored(self._credentials.redact(cid), profile, size)

    def has(self, cid: str) -> bool:
        """Return whether the account has pinned the file with this CID."""
        root = str(Cid.parse(cid))
        return self._retry.call(lambda: self._api.has(root))

    def check(self) -> str:
        """Check whether Pinata accepts the credentials (``testAuthentication``)."""
        # A captive portal answers every request with 200 and a page, so require Pinata's JSON message.
        self._retry.call(lambda: self._http.request("GET", f"{self._api_url}/data/testAuthentication").text("message"))
        return f"Pinata accepts the credentials (API {self._api.version})."
