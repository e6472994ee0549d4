"""One file from one gateway, into a scratch file that another gateway can take up where this one broke off."""

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
from decloud_pl.store.fetch.verify import require_match, too_large
from decloud_pl.store.http_status import no_answer
from decloud_pl.store.ipfs.car import CONTENT_TYPE, ChunkReader, file_in_car
from decloud_pl.store.ipfs.cid import Cid
from decloud_pl.store.ipfs.unixfs import profile_of

if TYPE_CHECKING:
    import requests

    from decloud_pl.http_client import BoundedSession

_CHUNK = 1 << 16  # what is lost when a connection breaks off within a chunk
_MAX_REDIRECTS = 3
_NOT_FOUND = (404, 410)
_NOT_ALLOWED = (401, 402, 403, 451)
_LONGEST_NAME = 100
_OVERHEAD = 1 << 20
_ACCEPT_CAR = f"{CONTENT_TYPE}; version=1; order=dfs; dups=y, application/octet-stream;q=0.5, */*;q=0.1"
_ACCEPT_FILE = "application/octet-stream, */*;q=0.1"


@dataclass
class Prefix:
    """The beginning of a file on disk.

    ``verified`` bytes from its start were checked against the CID; what follows is a gateway's word.
    """

    path: Path
    verified: int = 0

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def cut(self) -> None:
        """Drops what is not verified."""
        os.truncate(self.path, self.verified)


@dataclass(frozen=True)
class TransferLimits:
    """What one download may take: seconds of silence, seconds in all, bytes; ``monotonic`` tells how fast it is."""

    silence: float
    total_seconds: float
    max_bytes: int
    monotonic: Callable[[], float] = time.monotonic


@dataclass
class Download:
    """A file from one gateway; `run` once, from any thread, with `cancel` from any other.

    Attributes:
        prefix: where the bytes go, and what of them is there already.
        received: bytes that came so far.
        responding: whether the gateway has begun to answer, so that the scratch file may change.
        gave_up: whether its time ran out, so that asking this gateway again is no use.
        started: when, by the clock of ``limits``.
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
        """Makes `run` end soon."""
        self._cancelled.set()
        session = self._session
        if session is not None:
            session.abort()

    def run(self) -> int:
        """Downloads and verifies; on return the scratch file is the file that ``root`` names.

        Returns:
            Its size in bytes.

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
                raise StoreUnavailable(f"The gateway {self._host} is too slow.", fix="Use another one.") from error
            raise no_answer(f"The gateway {self._host}", error) from error

    def _attempt(self, session: BoundedSession) -> int:
        have = self.prefix.size
        if have > self.limits.max_bytes:
            raise too_large(self.root, self.limits.max_bytes)
        with self._get(session, have) as response:
            self.responding = True
            if response.status_code == 416:
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
            # The beginning came from somebody else, perhaps a liar: this gateway is to be heard from the start.
            return self._without_prefix(session)
        self.prefix.cut()
        require_match(self.prefix.path, self.root)
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
        """The response to follow, after at most a few redirects within the gateway."""
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
                raise self._astray("an address that cannot be read") from error
            if not within(target, self.url):
                raise self._astray(_origin(target))
        raise StoreUnavailable(f"The gateway {self._host} redirects in circles.", fix="Use another one.")

    def _astray(self, where: str) -> StoreUnavailable:
        return StoreUnavailable(
            f"The gateway {self._host} redirects to another host ({where}), which is not followed.",
            fix="Configure the address it redirects to, or another gateway.",
        )

    def _check_status(self, response: requests.Response, have: int) -> None:
        status = response.status_code
        if status == 200 or (have and status in (206, 416)):
            return
        wait = retry_after(response.headers.get("Retry-After", ""))
        response.close()
        if status in _NOT_FOUND:
            raise ContentNotFound(f"The gateway {self._host} does not have the file.", fix="It may have it later.")
        if status in _NOT_ALLOWED:
            raise StoreUnavailable(
                f"The gateway {self._host} does not give the file to this program (HTTP {status}).",
                fix="It may serve its owner only, or what its owner pinned; add another gateway to network.gateways.",
            )
        raise StoreUnavailable(f"The gateway {self._host} answered with HTTP {status}.", retry_after=wait)


def within(target: str, url: str) -> bool:
    """Whether an address is the gateway's own: the same host, or a subdomain of it (``<cid>.ipfs.dweb.link``).

    Of a gateway on this machine so are ``localhost`` and what is below it: Kubo redirects to ``<cid>.ipfs.localhost``.
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
    """Where to ask for an address that is `within` a gateway, and the ``Host`` header that names what is asked for.

    Names below ``localhost`` mean this machine (RFC 6761, section 6.3), but few resolvers know them.
    """
    parts, here = urlsplit(target), urlsplit(url)
    if is_loopback(here.hostname or "") and _below_localhost(parts.hostname or ""):
        return parts._replace(netloc=here.netloc).geturl(), parts.netloc
    return target, parts.netloc


def _below_localhost(host: str) -> bool:
    return f".{host}".endswith(".localhost")


def _origin(target: str) -> str:
    """Scheme and host of an address from a stranger, to be shown."""
    try:
        parts = urlsplit(target)
    except ValueError:
        return "an address that cannot be read"
    shown = "".join(char for char in f"{parts.scheme}://{parts.netloc}" if char.isascii() and char.isprintable())
    return shown[:_LONGEST_NAME]


def _is_car(response: requests.Response) -> bool:
    return response.headers.get("Content-Type", "").partition(";")[0].strip() == CONTENT_TYPE


def _continues(response: requests.Response, have: int) -> bool:
    """Whether a partial answer begins where the prefix ends; any other is a defect of the gateway."""
    if response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        return True
    raise StoreUnavailable(
        f"The gateway {urlsplit(response.url).hostname} answered with another part than was asked for.",
    )


def _plain(reader: ChunkReader) -> Iterator[bytes]:
    while chunk := reader.read(_CHUNK):
        yield chunk
