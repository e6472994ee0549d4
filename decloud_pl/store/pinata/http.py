"""Requests to Pinata with time limits and typed errors.

Redirects are not followed, because they would send the key to another host. A form with a file (RFC 7578) is sent in
pieces, so the file is never in memory as a whole.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests

from decloud_pl.addresses import is_loopback
from decloud_pl.errors import ConfigError, StoreError, StoreUnavailable
from decloud_pl.http_client import REDIRECTS, BoundedSession, UnusableAnswer
from decloud_pl.legible import legible
from decloud_pl.proxies import route_to
from decloud_pl.retry import retry_after
from decloud_pl.store.http_status import status_error
from decloud_pl.store.pinata.credentials import LOGIN, PinataCredentials
from decloud_pl.store.sending import SentFile

_LONGEST_EXCHANGE = 1800.0
"""Seconds, including the upload of a file."""
_PIECE = 1 << 18
_LONGEST_WORDS = 200
_CONNECTION = "Check the network connection and Pinata's status page."


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer. ``document`` is its parsed JSON, or None if it is not JSON."""

    headers: Mapping[str, str]
    document: Any

    def text(self, *keys: str) -> str:
        """Return a string from the JSON document. ``keys`` is the path to it: one key for each nested object.

        Raises:
            StoreUnavailable: there is no such string.
        """
        value = self.document
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if not isinstance(value, str):
            raise StoreUnavailable(f"Pinata's answer has no text at {'.'.join(keys)!r}.")
        return value


class PinataHttp:
    """Sends requests with the user's credentials. A request fails if Pinata is silent for ``timeout`` seconds."""

    def __init__(self, credentials: PinataCredentials, *, timeout: float) -> None:
        self._credentials = credentials
        self._timeout = timeout

    def request(self, method: str, url: str, *, data: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Send one request.

        Raises:
            StoreUnavailable: Pinata did not answer completely, or answered with HTTP 429 or 5xx.
            StoreRejected: Pinata answered with HTTP 401, 403, 413 or another refusal.
        """
        answer = self._try(method, url, data, headers)
        # Not raised in an `except` block: its context would be the library's exception, which holds the keys.
        if isinstance(answer, StoreError):
            raise answer
        return answer

    def _try(self, method: str, url: str, data: Any, headers: Mapping[str, str] | None) -> Answer | StoreError:
        try:
            with BoundedSession(_LONGEST_EXCHANGE) as session:
                response = session.request(
                    method,
                    url,
                    data=data,
                    headers=dict(headers or {}),
                    auth=self._credentials.sign,
                    timeout=self._timeout,
                )
                return self._read(session, response)
        except requests.Timeout:
            limit = _LONGEST_EXCHANGE if session.expired else self._timeout
            return StoreUnavailable(
                f"Pinata did not answer within {limit:g} s.",
                fix=_CONNECTION,
            )
        except UnusableAnswer as error:
            return StoreUnavailable(f"Pinata's answer cannot be used: {error}.")
        except requests.exceptions.SSLError:
            return StoreUnavailable(
                "The encrypted connection to Pinata failed.", fix="Check this machine's clock and proxy."
            )
        except requests.ConnectionError:
            return StoreUnavailable(
                "Pinata cannot be reached or closed the connection.",
                fix=_CONNECTION,
            )
        except requests.RequestException:
            return StoreUnavailable(
                "The request to Pinata failed. The cause is not shown, because it may contain the credentials."
            )

    def _read(self, session: BoundedSession, response: requests.Response) -> Answer | StoreError:
        body = b"" if response.status_code in REDIRECTS else session.whole(response)
        try:
            document = json.loads(body) if body else None
        except (ValueError, RecursionError):
            document = None
        if 200 <= response.status_code < 300:
            return Answer(response.headers, document)
        return status_error(
            response.status_code,
            who="Pinata",
            said=self._credentials.redact(_words(document)),
            wait=retry_after(response.headers.get("Retry-After", "")),
            login=LOGIN,
        )


class FileForm:
    """A form with a file, as the body of one request. Its length is known, and it can be iterated only once.

    ``fields`` are names and values in ASCII. The file follows them as the field ``file``.
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
            raise StoreError("The file became shorter during the upload.", fix="Upload it again when it is complete.")
        yield self._tail


def _words(document: Any) -> str:
    """Return the message in Pinata's error document: ``{"error": {"reason", "details"}}`` or ``{"error": "…"}``."""
    error = document.get("error") if isinstance(document, dict) else None
    parts = [error.get("reason"), error.get("details")] if isinstance(error, dict) else [error]
    text = ": ".join(part for part in parts if isinstance(part, str) and part)
    return " ".join(legible(text, _LONGEST_WORDS).split())


def checked_url(name: str, url: str) -> str:
    """Check that it is safe to send keys to a URL; return the URL without a trailing slash.

    Raises:
        ConfigError: the URL is not https (http is allowed only for a host on this machine), or the proxy or the
            certificates for it cannot be used (see `route_to`).
    """
    parts = urlsplit(url)
    if parts.hostname and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))):
        route_to(url)
        return url.rstrip("/")
    raise ConfigError(
        f"storage.{name} must be an https URL, because requests contain a key (got {url!r}).",
        fix="Write it like https://api.pinata.cloud.",
    )
