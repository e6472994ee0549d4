"""Downloads through HTTP gateways that nobody has to trust: every byte is checked against the CID."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from decloud_pl.errors import (
    ConfigError,
    ContentNotFound,
    IntegrityError,
    SizeLimitExceeded,
    StoreError,
    StoreUnavailable,
)
from decloud_pl.store.car import CONTENT_TYPE, ChunkReader, file_in_car
from decloud_pl.store.cid import Cid
from decloud_pl.store.unixfs import CidWriter, profile_of

if TYPE_CHECKING:
    import requests

logger = logging.getLogger(__name__)

_CHUNK = 1 << 18
_MAX_REDIRECTS = 3
_REDIRECTS = (301, 302, 303, 307, 308)
_NOT_FOUND = (404, 410)
_OVERHEAD = 1 << 20
_LONGEST_WAIT = 3600.0
_ACCEPT = f"{CONTENT_TYPE}; version=1; order=dfs; dups=y, application/octet-stream;q=0.5, */*;q=0.1"


@dataclass(frozen=True, slots=True)
class Fetched:
    """A finished download: the gateway that delivered it and the size in bytes."""

    gateway: str
    size: int


class GatewayReader:
    """Fetches files by CID from the first gateway that delivers the right bytes.

    A redirect to another host is not followed: it would tell a host that nobody configured what is fetched.

    Args:
        urls: base addresses; ``/ipfs/<cid>`` is put behind each.
        timeout: seconds a gateway may be silent.
        total_seconds: seconds one gateway may take for one file.
        session: for the connections; a fresh one by default.
        monotonic: the clock for ``total_seconds``.

    Raises:
        ConfigError: no address, or one that is not http or https.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        timeout: float = 30.0,
        total_seconds: float = 1800.0,
        session: requests.Session | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not urls:
            raise ConfigError("No gateway is configured.", fix="Set network.gateways.")
        for url in urls:
            if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
                raise ConfigError(
                    f"The gateway {url!r} is not an http or https URL.", fix="Write it like https://ipfs.io."
                )
        self._urls = tuple(url.rstrip("/") for url in urls)
        self._timeout = timeout
        self._total_seconds = total_seconds
        self._session = session
        self._monotonic = monotonic

    def fetch(self, cid: str, destination: Path, *, max_bytes: int) -> Fetched:
        """Downloads a file; ``destination`` appears only when all of it is there and verified.

        Args:
            cid: the file's CID, untrusted text.
            destination: where to put it; replaced when it exists.
            max_bytes: the largest file to accept.

        Raises:
            InvalidCid: not a CID that can be verified.
            StoreUnavailable: some gateway did not answer, so asking again may help.
            ContentNotFound: no gateway has it.
            IntegrityError: nobody delivered bytes that match.
            SizeLimitExceeded: it is larger than ``max_bytes``.
            StoreError: the file cannot be written here.
        """
        root = Cid.parse(cid)
        failures: list[StoreError] = []
        for url in self._urls:
            try:
                return Fetched(url, self._from(url, root, destination, max_bytes))
            except (StoreUnavailable, ContentNotFound, IntegrityError, SizeLimitExceeded) as error:
                logger.info("Gateway %s: %s", url, error)
                failures.append(error)
            except OSError as error:
                raise StoreError(
                    f"{destination} cannot be written: {error.strerror}.", fix="Free disk space or check the folder."
                ) from error
        raise _most_hopeful(failures)

    def _from(self, url: str, root: Cid, destination: Path, max_bytes: int) -> int:
        import requests

        deadline = self._monotonic() + self._total_seconds
        host = urlsplit(url).hostname
        received = 0

        def count(size: int) -> None:
            nonlocal received
            received += size
            # An archive is a little larger than its file: CIDs, nodes and lengths.
            if received > max_bytes + max_bytes // 50 + _OVERHEAD:
                raise _too_large(root, max_bytes)
            if self._monotonic() > deadline:
                raise StoreUnavailable(f"The gateway {host} is too slow.", fix="Another one is tried.")

        try:
            with self._get(url, root) as response:
                chunks = response.iter_content(_CHUNK)
                is_car = response.headers.get("Content-Type", "").partition(";")[0].strip() == CONTENT_TYPE
                reader = ChunkReader(chunks, count)
                body = file_in_car(reader, root) if is_car else _plain(reader)
                return _write(body, root, destination, max_bytes, verified=is_car)
        except requests.RequestException as error:
            raise StoreUnavailable(
                f"The gateway {host} does not answer or broke off.", fix="It is tried again."
            ) from error

    def _get(self, url: str, root: Cid) -> requests.Response:
        """The response to follow, after at most a few redirects on the same host."""
        import requests

        session = self._session or requests.Session()
        target = f"{url}/ipfs/{root}?format=car"
        for _ in range(_MAX_REDIRECTS + 1):
            try:
                response = session.get(
                    target, stream=True, timeout=self._timeout, allow_redirects=False, headers={"Accept": _ACCEPT}
                )
            except ValueError as error:  # from parsing the Location, which requests does even if it does not follow
                raise _astray(url) from error
            if response.status_code not in _REDIRECTS:
                _check_status(response, urlsplit(url).hostname or url)
                return response
            response.close()
            target = urljoin(target, response.headers.get("Location", ""))
            if urlsplit(target)[:2] != urlsplit(url)[:2]:
                raise _astray(url)
        raise StoreUnavailable(f"The gateway {urlsplit(url).hostname} redirects in circles.", fix="Use another one.")


def _astray(url: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"The gateway {urlsplit(url).hostname} redirects to another host.",
        fix="Configure the address it redirects to, or another gateway.",
    )


def _check_status(response: requests.Response, host: str) -> None:
    status = response.status_code
    if status == 200:
        return
    wait = response.headers.get("Retry-After", "")
    response.close()
    if status in _NOT_FOUND:
        raise ContentNotFound(f"The gateway {host} does not have the file.", fix="It may have it later.")
    raise StoreUnavailable(
        f"The gateway {host} answered with HTTP {status}.",
        fix="It is tried again.",
        retry_after=min(float(wait), _LONGEST_WAIT) if wait.isascii() and wait.isdigit() else None,
    )


def _plain(reader: ChunkReader) -> Iterator[bytes]:
    while chunk := reader.read(_CHUNK):
        yield chunk


def _write(body: Iterator[bytes], root: Cid, destination: Path, max_bytes: int, *, verified: bool) -> int:
    """Writes to a scratch file; renames it when every byte is known to be right."""
    with CidWriter(destination) as writer:
        for part in body:
            writer.write(part)
            if writer.size > max_bytes:
                raise _too_large(root, max_bytes)
        if not verified:
            cid = writer.finish()
            writer.flush()
            if (cid.codec, cid.digest) != (root.codec, root.digest) and profile_of(writer.scratch, root) is None:
                raise IntegrityError(f"The bytes do not match {root}.", fix="The source is broken or lies.")
        writer.commit()
        return writer.size


def _too_large(root: Cid, max_bytes: int) -> SizeLimitExceeded:
    return SizeLimitExceeded(
        f"{root} is larger than the limit of {max_bytes:,} bytes.", fix="Raise the limit if you trust its origin."
    )


_HOPE: tuple[type[StoreError], ...] = (StoreUnavailable, ContentNotFound, IntegrityError, SizeLimitExceeded)


def _most_hopeful(failures: Sequence[StoreError]) -> StoreError:
    """The failure that another try is most likely to mend: one broken gateway must not end the matter."""
    return min(failures, key=lambda failure: _HOPE.index(type(failure)))
