"""Download one file from one gateway into a scratch file. Another gateway can resume an interrupted download."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from decloud_pl.addresses import is_loopback
from decloud_pl.errors import ContentNotFound, StoreUnavailable
from decloud_pl.retry import retry_after
from decloud_pl.store.fetch.fetcher import Cancelled
from decloud_pl.store.fetch.verify import too_large
from decloud_pl.store.http_status import no_answer
from decloud_pl.store.ipfs.car import CONTENT_TYPE, ChunkReader, file_in_car
from decloud_pl.store.ipfs.cid import Cid, malformed
from decloud_pl.store.ipfs.unixfs import profile_of

if TYPE_CHECKING:
    import requests

    from decloud_pl.http_client import BoundedSession

_CHUNK = 1 << 16  # the most that is lost if a connection breaks within a chunk
_MAX_REDIRECTS = 3
_NOT_FOUND = (404, 410)
_NOT_ALLOWED = (401, 402, 403, 451)
_LONGEST_NAME = 100
_OVERHEAD = 1 << 20
_ACCEPT_CAR = f"{CONTENT_TYPE}; version=1; order=dfs; dups=y, application/octet-stream;q=0.5, */*;q=0.1"
_ACCEPT_FILE = "application/octet-stream, */*;q=0.1"


@dataclass
class Prefix:
    """The beginning of a file, as far as it has been downloaded.

    The first ``verified`` bytes were checked against the CID. The bytes after them are not verified.
    """

    path: Path
    verified: int = 0

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def cut(self) -> None:
        """Remove the bytes that are not verified."""
        os.truncate(self.path, self.verified)


@dataclass(frozen=True)
class TransferLimits:
    """The limits of one download.

    Attributes:
        silence: seconds the gateway may be silent.
        total_seconds: seconds for the whole download.
        max_bytes: the largest size of the file.
        monotonic: returns the time in seconds, for both time limits.
    """

    silence: float
    total_seconds: float
    max_bytes: int
    monotonic: Callable[[], float] = time.monotonic


@dataclass
class Download:
    """A download from one gateway. Call `run` once, from any thread; any other thread may call `cancel`.

    Attributes:
        url: the base address of the gateway.
        root: the CID of the file.
        prefix: the scratch file. It may already hold the beginning of the file.
        limits: the limits on time and size.
        received: the number of bytes received so far.
        gave_up: whether the download failed because ``total_seconds`` ran out. If so, the caller should not try this
            gateway a second time.
        responding: whether the gateway has begun to answer. Until then, the download does not change the scratch file.
            After `cancel`, a gateway that begins to answer does not change it either.
        started: the time of the start, as ``limits.monotonic`` returned it.
    """

    url: str
    root: Cid
    prefix: Prefix
    limits: TransferLimits
    received: int = 0
    gave_up: bool = False
    responding: bool = False
    started: float = 0.0
    _session: BoundedSession | None = None
    _cancelled: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.started = self.limits.monotonic()

    def cancel(self) -> None:
        """Make `run` raise `Cancelled` soon."""
        self._cancelled.set()
        session = self._session
        if session is not None:
            session.abort()

    def run(self) -> int:
        """Download and verify the file. On return, the scratch file holds the complete file.

        Returns:
            The size in bytes.

        Raises:
            Cancelled: `cancel` was called.
            StoreUnavailable, ContentNotFound, IntegrityError, SizeLimitExceeded: as `GatewayReader.fetch`.
            OSError: the scratch file cannot be written.
        """
        import requests

        from decloud_pl.http_client import BoundedSession

        try:
            with BoundedSession(self.limits.total_seconds) as session:
                self._session = session
                if self._cancelled.is_set():
                    raise Cancelled
                return self._attempt(session)
        except requests.RequestException as error:
            if self._cancelled.is_set():
                raise Cancelled from None
            self.gave_up = session.expired
            if self.gave_up:
                raise StoreUnavailable(
                    f"The gateway {self._host} did not deliver the file within {self.limits.total_seconds:g} s.",
                    fix="Use another gateway.",
                ) from error
            raise no_answer(f"The gateway {self._host}", error) from error

    def _attempt(self, session: BoundedSession) -> int:
        have = self.prefix.size
        if have > self.limits.max_bytes:
            raise too_large(self.root, self.limits.max_bytes)
        with self._get(session, have) as response:
            self.responding = True
            if self._cancelled.is_set():  # the caller may have moved the scratch file already
                raise Cancelled
            if response.status_code == 416:
                if profile_of(self.prefix.path, self.root) is not None:  # it was already complete
                    return self.prefix.size
                return self._without_prefix(session)
            reader = ChunkReader(session.body(response, _CHUNK), self._count)
            if response.status_code == 206 and _continues(response, have):
                self._pour(_plain(reader), append=True)
            elif _is_car(response):
                self._pour(file_in_car(reader, self.root), verified=True)
                return self.prefix.size
            else:
                self._pour(_plain(reader))
                have = 0
        if profile_of(self.prefix.path, self.root) is not None:
            return self.prefix.size
        if have > self.prefix.verified:
            # The prefix came from another gateway and may be wrong, so download the whole file from this one.
            return self._without_prefix(session)
        self.prefix.cut()
        if profile_of(self.prefix.path, self.root) is None:
            raise malformed(f"The downloaded bytes do not match the CID {self.root}.")
        return self.prefix.size

    def _without_prefix(self, session: BoundedSession) -> int:
        self.prefix.verified = 0
        self.prefix.cut()
        return self._attempt(session)

    def _count(self, size: int) -> None:
        self.received += size
        if self._cancelled.is_set():
            raise Cancelled
        # An archive is a little larger than its file: CIDs, nodes and lengths.
        most = self.limits.max_bytes
        if self.received > most + most // 50 + _OVERHEAD:
            raise too_large(self.root, most)

    def _pour(self, body: Iterator[bytes], *, append: bool = False, verified: bool = False) -> None:
        prefix, most = self.prefix, self.limits.max_bytes
        if not append:
            prefix.verified = 0
        with prefix.path.open("ab" if append else "wb") as file:
            size = file.tell()
            for part in body:
                file.write(part)
                size += len(part)
                if size > most:
                    raise too_large(self.root, most)
                if verified:
                    prefix.verified = size

    @property
    def _host(self) -> str:
        return urlsplit(self.url).netloc

    def _get(self, session: BoundedSession, have: int) -> requests.Response:
        """Request the file from byte ``have`` on. Follow at most three redirects within the gateway."""
        from decloud_pl.http_client import REDIRECTS

        target = f"{self.url}/ipfs/{self.root}" + ("" if have else "?format=car")
        headers = {"Accept": _ACCEPT_FILE if have else _ACCEPT_CAR}
        if have:
            headers["Range"] = f"bytes={have}-"
        for _ in range(_MAX_REDIRECTS + 1):
            address, host = at_gateway(target, self.url)
            response = session.get(address, timeout=self.limits.silence, headers={**headers, "Host": host})
            if response.status_code not in REDIRECTS:
                self._check_status(response, have)
                return response
            response.close()
            try:
                target = urljoin(target, response.headers.get("Location", ""))
            except ValueError as error:
                raise self._astray("an invalid address") from error
            if not within(target, self.url):
                raise self._astray(_origin(target))
        raise StoreUnavailable(
            f"The gateway {self._host} redirects more than {_MAX_REDIRECTS} times.", fix="Use another gateway."
        )

    def _astray(self, where: str) -> StoreUnavailable:
        return StoreUnavailable(
            f"The gateway {self._host} redirects to an address outside the gateway ({where}). "
            "Such redirects are not followed.",
            fix="Add the address that it redirects to, or another gateway, to network.gateways.",
        )

    def _check_status(self, response: requests.Response, have: int) -> None:
        status = response.status_code
        if status == 200 or (have and status in (206, 416)):
            return
        wait = retry_after(response.headers.get("Retry-After", ""))
        response.close()
        if status in _NOT_FOUND:
            raise ContentNotFound(f"The gateway {self._host} does not have the file.", fix="Retry later.")
        if status in _NOT_ALLOWED:
            raise StoreUnavailable(
                f"The gateway {self._host} denies access to the file (HTTP {status}). The gateway may serve only its "
                "owner, or only pinned files.",
                fix="Add another gateway to network.gateways.",
            )
        raise StoreUnavailable(
            f"The gateway {self._host} failed with HTTP {status}.",
            fix="Try again later, or add another gateway to network.gateways.",
            retry_after=wait,
        )


def within(target: str, url: str) -> bool:
    """Return whether the URL ``target`` belongs to the gateway ``url``.

    Scheme and port must be the same. The host must be the gateway's or a subdomain of it (``<cid>.ipfs.dweb.link``).
    ``localhost`` and its subdomains belong to a gateway on this machine: Kubo redirects to ``<cid>.ipfs.localhost``.
    """
    try:
        there, here = urlsplit(target), urlsplit(url)
        same = (there.scheme, there.port) == (here.scheme, here.port)
    except ValueError:
        return False
    host, own = there.hostname or "", here.hostname or ""
    local = is_loopback(own) and _below_localhost(host)
    return same and not there.username and (host == own or host.endswith(f".{own}") or local)


def at_gateway(target: str, url: str) -> tuple[str, str]:
    """Return the URL to connect to and the ``Host`` header.

    Subdomains of ``localhost`` mean this machine (RFC 6761, section 6.3), but few resolvers support them. For such a
    subdomain, the URL to connect to therefore has the gateway's own host.

    Args:
        target: the URL to request. It belongs to the gateway (see `within`).
        url: the base address of the gateway.
    """
    parts, here = urlsplit(target), urlsplit(url)
    if is_loopback(here.hostname or "") and _below_localhost(parts.hostname or ""):
        return parts._replace(netloc=here.netloc).geturl(), parts.netloc
    return target, parts.netloc


def _below_localhost(host: str) -> bool:
    return f".{host}".endswith(".localhost")


def _origin(target: str) -> str:
    """Return the scheme and host of an untrusted URL, reduced to printable ASCII characters."""
    try:
        parts = urlsplit(target)
    except ValueError:
        return "an invalid address"
    shown = "".join(char for char in f"{parts.scheme}://{parts.netloc}" if char.isascii() and char.isprintable())
    return shown[:_LONGEST_NAME]


def _is_car(response: requests.Response) -> bool:
    return response.headers.get("Content-Type", "").partition(";")[0].strip() == CONTENT_TYPE


def _continues(response: requests.Response, have: int) -> bool:
    """Return True if a partial answer begins at byte ``have``; otherwise raise `StoreUnavailable`."""
    if response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        return True
    raise StoreUnavailable(
        f"The gateway {urlsplit(response.url).hostname} returned a different part of the file than requested.",
        fix="Use another gateway.",
    )


def _plain(reader: ChunkReader) -> Iterator[bytes]:
    while chunk := reader.read(_CHUNK):
        yield chunk
