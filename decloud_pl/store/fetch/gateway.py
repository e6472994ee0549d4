"""Downloads through untrusted HTTP gateways: every byte is checked against the CID."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from decloud_pl.addresses import check_gateway, gateway_root
from decloud_pl.durable import replace_durably
from decloud_pl.errors import (
    ConfigError,
    ContentNotFound,
    IntegrityError,
    SizeLimitExceeded,
    StoreError,
    StoreRejected,
    StoreUnavailable,
)
from decloud_pl.proxies import route_to
from decloud_pl.store.fetch.download import Download, Prefix, TransferLimits
from decloud_pl.store.fetch.fetcher import NEVER, Cancelled, Fetched
from decloud_pl.store.fetch.verify import writing
from decloud_pl.store.ipfs.cid import Cid

logger = logging.getLogger(__name__)

_TICK = 0.02
_JUDGED_AFTER = 5.0  # seconds
_SLOW_RATE = 128 * 1024
"""Bytes per second. If a download is slower on average, the next gateway starts in parallel."""
_RESUMES = 3
_JOIN_SECONDS = 5.0
_EXPECTED = (StoreUnavailable, ContentNotFound, IntegrityError, SizeLimitExceeded)


class GatewayReader:
    """Fetches files by CID from the first gateway that delivers the right bytes.

    If a gateway is slow, the next gateway starts in parallel. If a transfer breaks off, the next gateway resumes it.
    The gateway that delivers a file is the first to be tried for the next file. Redirects to another host are not
    followed: the user did not configure that host, and it would see the CID.

    Args:
        urls: base addresses, with or without ``/ipfs`` at the end; the reader appends ``/ipfs/<cid>``.
        timeout: seconds a gateway may be silent.
        total_seconds: seconds one gateway may take for one file.
        monotonic: the clock that measures the speed of a gateway.

    Raises:
        ConfigError: ``urls`` is empty, a URL is not the address of a gateway, or the proxy or the certificates for it
            cannot be used (see `route_to`).
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        timeout: float = 30.0,
        total_seconds: float = 1800.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not urls:
            raise ConfigError("No gateway is configured.", fix="Set network.gateways.")
        for url in urls:
            try:
                check_gateway(url)
            except ValueError as error:
                raise ConfigError(f"network.gateways: {error}.", fix="Write it like https://ipfs.io.") from None
            route_to(url)
        self._urls = [gateway_root(url) for url in urls]
        self._lock = threading.Lock()
        self._timeout = timeout
        self._total_seconds = total_seconds
        self._monotonic = monotonic

    def fetch(
        self,
        cid: str,
        destination: Path,
        *,
        max_bytes: int,
        cancel: threading.Event = NEVER,
        partial: Path | None = None,
    ) -> Fetched:
        """Download a file. ``destination`` appears only when the file is complete and verified.

        Args:
            cid: the CID of the file, as untrusted text.
            destination: the path to write; an existing file is replaced.
            max_bytes: the largest file to accept.
            cancel: an event that ends the download when it is set.
            partial: the path at which a failed or cancelled download leaves the beginning of the file for the next
                call. With None, the beginning is deleted.

        Raises:
            InvalidCid: ``cid`` is not a CID that can be verified.
            StoreUnavailable: a gateway did not answer, so a retry may help. ``retry_after`` is the shortest wait that a
                gateway requested, or None if one of them requested no wait.
            ContentNotFound: no gateway has the file.
            IntegrityError: no gateway delivered bytes that match the CID.
            SizeLimitExceeded: the file is larger than ``max_bytes``.
            StoreError: ``destination`` cannot be written.
            Cancelled: ``cancel`` was set.
        """
        root = Cid.parse(cid)
        limits = TransferLimits(self._timeout, self._total_seconds, max_bytes, self._monotonic)
        with self._lock:
            urls = tuple(self._urls)
        race = _Race(urls, root, destination, limits)
        try:
            with writing(destination):
                if partial is not None:
                    race.take(partial)
                winner, size = race.run(cancel)
                replace_durably(winner.prefix.path, destination)
                if partial is not None:  # the file is complete, so its beginning is of no more use
                    partial.unlink(missing_ok=True)
                    partial = None
        finally:
            race.end(partial)
        with self._lock:
            self._urls.sort(key=lambda url: url != winner.url)
        return Fetched(winner.url, size)


class _Race:
    """A download of one file from several gateways in turn; while a gateway is slow, the next one runs in parallel."""

    def __init__(
        self,
        urls: Sequence[str],
        root: Cid,
        destination: Path,
        limits: TransferLimits,
    ) -> None:
        self._waiting = list(urls)
        self._root = root
        self._destination = destination
        self._limits = limits
        self._resumes = _RESUMES
        self._running: list[tuple[Download, threading.Thread]] = []
        self._results: queue.SimpleQueue[tuple[Download, int | BaseException]] = queue.SimpleQueue()
        self._kept: Prefix | None = None
        self._scratches: list[Path] = []

    def take(self, partial: Path) -> None:
        """Use the beginning of the file that an earlier call left at ``partial``, if any. It is not verified yet.

        A beginning that is larger than the limit stays there for a call with a higher limit.
        """
        scratch = self._scratch()
        with contextlib.suppress(FileNotFoundError):
            if partial.stat().st_size > self._limits.max_bytes:
                return
            partial.replace(scratch)
            self._kept = Prefix(scratch)

    def run(self, cancel: threading.Event) -> tuple[Download, int]:
        """Download from the gateways until one succeeds; return that download and the size of the file."""
        failures: list[StoreError] = []
        self._start()
        while True:
            if cancel.is_set():
                raise Cancelled
            try:
                download, result = self._results.get(timeout=_TICK)
            except queue.Empty:
                if self._waiting and self._last_is_slow():
                    self._start()
                continue
            self._running = [entry for entry in self._running if entry[0] is not download]
            if isinstance(result, int):
                return download, result
            if not isinstance(result, _EXPECTED):
                raise result
            logger.info("Could not download from %s: %s", download.url, result)
            failures.append(result)
            self._keep(download, result)
            if self._waiting:
                self._start()
            elif not self._running:
                failure = most_hopeful(failures)
                if isinstance(failure, StoreUnavailable) and failure.retry_after:
                    # A gateway that requested no wait may have the file sooner.
                    failure.retry_after = min(getattr(one, "retry_after", None) or 0.0 for one in failures) or None
                raise failure

    def end(self, partial: Path | None) -> None:
        """Cancel the running downloads, move the longest beginning of the file to ``partial``, and remove the rest."""
        for download, _ in self._running:
            download.cancel()
        with contextlib.suppress(OSError):
            for download, thread in self._running:
                # A download without an answer no longer writes to its file, and its thread ends by its own time limit.
                if download.responding:
                    thread.join(_JOIN_SECONDS)
                    if thread.is_alive():  # it may still write
                        continue
                self._keep_longest(download.prefix)
            if partial is not None and self._kept is not None and self._kept.size > Prefix(partial).size:
                self._kept.path.replace(partial)
            for scratch in self._scratches:
                scratch.unlink(missing_ok=True)

    def _scratch(self) -> Path:
        name = f".{self._destination.name}.{os.getpid()}-{os.urandom(4).hex()}.part"
        scratch = self._destination.with_name(name)
        self._scratches.append(scratch)
        return scratch

    def _start(self) -> None:
        prefix, self._kept = self._kept or Prefix(self._scratch()), None
        download = Download(self._waiting.pop(0), self._root, prefix, self._limits)
        thread = threading.Thread(target=self._work, args=(download,), name="gateway", daemon=True)
        self._running.append((download, thread))
        thread.start()

    def _work(self, download: Download) -> None:
        try:
            self._results.put((download, download.run()))
        except BaseException as error:  # noqa: BLE001 - the waiting thread raises it
            self._results.put((download, error))

    def _last_is_slow(self) -> bool:
        download = self._running[-1][0]
        seconds = self._limits.monotonic() - download.started
        return seconds >= _JUDGED_AFTER and download.received < _SLOW_RATE * seconds

    def _keep(self, download: Download, failure: StoreError) -> None:
        """Keep the beginning of the file that a failed download left, if it is the longest so far.

        If the download broke off after some bytes, queue its gateway again. The number of repeats is limited.
        """
        prefix = download.prefix
        if isinstance(failure, IntegrityError) and prefix.size:
            prefix.cut()
        if isinstance(failure, SizeLimitExceeded) or not prefix.size:
            return
        self._keep_longest(prefix)
        if isinstance(failure, StoreUnavailable) and download.received and self._resumes and not download.gave_up:
            self._resumes -= 1
            self._waiting.append(download.url)

    def _keep_longest(self, prefix: Prefix) -> None:
        """Keep the longest beginning of the file that is within the limit."""
        if (0 if self._kept is None else self._kept.size) < prefix.size <= self._limits.max_bytes:
            self._kept = prefix


_HOPE = (StoreUnavailable, ContentNotFound, IntegrityError, StoreRejected, SizeLimitExceeded, StoreError)


def most_hopeful(failures: Sequence[StoreError]) -> StoreError:
    """Return the failure that a retry is most likely to resolve.

    Callers decide by this failure whether to retry. So one gateway or store that fails permanently does not prevent a
    retry if another one may succeed.
    """
    return min(failures, key=lambda failure: next(i for i, kind in enumerate(_HOPE) if isinstance(failure, kind)))
