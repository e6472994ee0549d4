"""Pinata (https://pinata.cloud): pins files for those without a node that is always reachable."""

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
    """Pinata's third API where there is a JWT, else its first with the pair of keys.

    Args:
        credentials: they choose the API.
        api_url: of accounts and look-ups.
        upload_url: of the third API's files.
        timeout: seconds Pinata may be silent.
        state: a folder that remembers unfinished large uploads.
        retry: how short disturbances are bridged.
        largest_single: bytes that the third API takes in one request.

    Raises:
        ConfigError: an address that is not https.
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
        """With the secrets of ``conf/storage/pinata.yaml``, and that file's settings.

        Raises:
            ConfigError: no login, half of one, or an address that is not https.
        """
        names = ("pinata_api_key", "pinata_secret_key", "pinata_jwt")
        credentials = PinataCredentials(*(secrets.get(name, "") for name in names))
        return cls(credentials, state=Path(state).expanduser(), **settings)

    def put(self, path: Path, profile: str = DEFAULT_PROFILE, *, progress: Progress | None = None) -> Stored:
        """Uploads and pins a file, streaming it.

        Raises:
            StoreUnavailable: Pinata cannot be reached, is overloaded or asks to slow down.
            StoreRejected: the credentials, their permissions or the plan's limits do not allow it.
            StoreError: the file cannot be read.
        """
        size = checked_file(path)
        cid = self._retry.call(lambda: self._api.upload(path, profile, progress))
        # A server's word may end up in a message, and a server may repeat what it was sent.
        return Stored(self._credentials.redact(cid), profile, size)

    def has(self, cid: str) -> bool:
        """Whether the account has pinned what this CID names."""
        root = str(Cid.parse(cid))
        return self._retry.call(lambda: self._api.has(root))

    def check(self) -> str:
        """Asks Pinata whether it knows the credentials (``testAuthentication``)."""
        # A captive portal answers everything with 200 and a page. Pinata answers with a message in JSON.
        self._retry.call(lambda: self._http.request("GET", f"{self._api_url}/data/testAuthentication").text("message"))
        return f"Pinata accepts the credentials (API {self._api.version})."
