"""The complete code of a custom storage provider, as the recipe in CONTRIBUTING.md describes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import requests

from decloud_pl.errors import ConfigError, StoreUnavailable
from decloud_pl.store import Progress, Stored
from decloud_pl.store.http_status import status_error
from decloud_pl.store.ipfs.cid import DEFAULT_PROFILE, Cid
from decloud_pl.store.ipfs.unixfs import cid_of_file
from decloud_pl.store.sending import SentFile


class ArchiveStore:
    """A store at ``url`` for users with the token.

    Raises:
        ConfigError: the token is not set.
    """

    name = "archive"

    def __init__(self, *, secrets: Mapping[str, str], url: str, timeout: float) -> None:
        if "archive_token" not in secrets:
            raise ConfigError("The archive needs a token.", fix="Set ARCHIVE_TOKEN.")
        self._headers = {"Authorization": f"Bearer {secrets['archive_token']}"}
        self._url = url
        self._timeout = timeout

    def put(self, path: Path, profile: str = DEFAULT_PROFILE, *, progress: Progress | None = None) -> Stored:
        with SentFile(path, progress) as file:
            cid = str(cid_of_file(path, profile))
            self._ask("POST", f"/ipfs/{cid}", file)
            return Stored(cid, profile, file.size)

    def has(self, cid: str) -> bool:
        return self._ask("HEAD", f"/ipfs/{Cid.parse(cid)}") != 404

    def check(self) -> str:
        self._ask("GET", "/login")
        return f"The archive at {self._url} knows the token."

    def _ask(self, method: str, path: str, data: SentFile | None = None) -> int:
        try:
            answer = requests.request(
                method, f"{self._url}{path}", data=data, headers=self._headers, timeout=self._timeout
            )
        except requests.RequestException as error:
            raise StoreUnavailable("The archive cannot be reached.") from error
        if answer.status_code >= 400 and answer.status_code != 404:
            raise status_error(answer.status_code, who="The archive", login="ARCHIVE_TOKEN")
        return answer.status_code
