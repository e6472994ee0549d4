"""Publish an update: upload it, download it through a gateway, verify the download, and only then return its CID.

The upload log records the start and the end of each step. So a process that resumes after a kill does not pin an
update a second time.
"""

from __future__ import annotations

import asyncio
import logging
import math
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from decloud_pl.domain import PinnedUpdate
from decloud_pl.errors import ContentNotFound, IntegrityError, InvalidCid, StoreError, StoreUnavailable
from decloud_pl.loop_thread import LoopThread, in_own_thread
from decloud_pl.retry import Backoff
from decloud_pl.store import Store
from decloud_pl.store.fetch.fetcher import Fetched, Fetcher, in_thread
from decloud_pl.store.fetch.gateway import most_hopeful
from decloud_pl.store.ipfs.cid import Cid
from decloud_pl.store.ipfs.unixfs import profile_of
from decloud_pl.store.upload import Publishable, StoreProgress, has_lost, time_limit, upload
from decloud_pl.store.uploads import MemoryUploadLog, Upload, UploadLog, UploadState

logger = logging.getLogger(__name__)

_LONGEST_CID = 80
_PASSING = (StoreUnavailable, ContentNotFound)
_BACKOFF = Backoff(1.0, 20.0)
"""The pause between two attempts to read an update back."""
_READ_RATE = 64 * 1024
"""Bytes per second. A gateway that delivers an update faster than this is not cut off before the deadline."""
_SHARE = 0.5
"""Of the time until the deadline. If an upload makes no progress for this part, or cannot be read back within it, the
next store is tried."""
_WRONG_SECONDS = 600.0
"""The least time until a store that returned a wrong CID gets the update again. By then, the user may have fixed it."""


@dataclass(frozen=True)
class StorePublisher:
    """A `Publisher` that uploads an update to a store, and then checks that others can fetch the update.

    If a store fails or nobody can fetch the update from it, the publisher tries the next store.

    Args:
        stores: the stores, in the order in which they are tried.
        reader: downloads the update as a validator would; must not have a cache.
        read_back_seconds: the most seconds to wait until a gateway returns an uploaded update. After that time, the
            next store is tried. A repeated call tries all stores again.
        sleep: waits for a number of seconds. Tests replace it.
        monotonic: returns the time in seconds. Tests replace it.
        tell: called with one sentence when a wait begins and when the reason for the wait changes.
        fetch_seconds: how long one download may take at least, besides the time that its bytes need at 64 KiB/s. Only
            ``read_back_seconds`` may give it longer, and only the caller's deadline less.
    """

    stores: Sequence[Store]
    reader: Fetcher
    read_back_seconds: float = 120.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    monotonic: Callable[[], float] = time.monotonic
    tell: Callable[[str], None] = logger.info
    fetch_seconds: float = 30.0
    # By store and update: when this process first refused to repeat an upload that got a wrong CID.
    _wrong_since: dict[tuple[str, str], float] = field(default_factory=dict)

    def publish(self, update: Publishable) -> PinnedUpdate:
        """Publish an update or another file. Notebooks can call this too, although their event loop already runs.

        Raises:
            StoreError: see `pin`.
        """
        thread = LoopThread("publish")
        try:
            with tempfile.TemporaryDirectory(prefix="decloud-publish-") as folder:
                return thread.run(self.pin(update, log=MemoryUploadLog(), scratch=Path(folder) / "read-back"))
        finally:
            thread.close()

    async def pin(
        self,
        update: Publishable,
        *,
        log: UploadLog,
        scratch: Path,
        progress: StoreProgress | None = None,
        seconds_left: float | None = None,
    ) -> PinnedUpdate:
        """Upload the update unless it is already uploaded, and read it back. A repeated call resumes.

        If no gateway returns an update that an earlier call uploaded, and the store no longer has it, the update is
        uploaded again.

        Args:
            update: the update, or another file, on disk.
            log: records the steps. It is called only from this thread.
            scratch: the path for the downloaded copy; removed afterwards.
            progress: called from another thread while bytes are sent.
            seconds_left: the seconds until the caller's deadline; None if there is none. The next store is tried if an
                upload makes no progress, or cannot be read back, for half of the time that is left.

        Raises:
            StoreUnavailable: the failure is temporary; a repeated call resumes.
            ContentNotFound: a store accepted the update, but no gateway returns it yet; a later call may succeed.
            StoreRejected: no store accepts the update; the user has to change something.
            IntegrityError: the CID that a store returned, or the downloaded copy, does not match the update.
        """
        failures: list[tuple[str, StoreError]] = []
        until = None if seconds_left is None else self.monotonic() + seconds_left
        for store in self.stores:
            try:
                return await self._through(
                    store, update, log, scratch, progress, None if store is self.stores[-1] else until
                )
            except StoreError as error:
                logger.info("Could not publish through %s: %s", store.name, error)
                failures.append((store.name, error))
        raise _combined(failures)

    async def renew(self, update: Publishable, cid: str, provider: str, *, log: UploadLog, scratch: Path) -> None:
        """Upload a published update again if the store that pinned it answers that it no longer has it.

        Args:
            update: the update, on disk.
            cid: the CID under which the store pinned it.
            provider: the store's name.
            log: see `pin`.
            scratch: see `pin`.

        Raises:
            StoreError: the update cannot be uploaded or read back; see `pin`.
        """
        for store in self.stores:
            if store.name == provider and await in_own_thread(partial(has_lost, store, cid)):
                await self._again(store, update, log, scratch, None, None)

    async def _again(
        self,
        store: Store,
        update: Publishable,
        log: UploadLog,
        scratch: Path,
        progress: StoreProgress | None,
        until: float | None,
    ) -> PinnedUpdate:
        self.tell(f"The store {store.name} no longer has the update. Uploading it again…")
        log.save(Upload(store.name, update.cid, UploadState.BEGUN))
        return await self._through(store, update, log, scratch, progress, until)

    async def _through(
        self,
        store: Store,
        update: Publishable,
        log: UploadLog,
        scratch: Path,
        progress: StoreProgress | None,
        until: float | None,
    ) -> PinnedUpdate:
        """Publish through one store. ``until`` is the deadline if other stores follow, on the monotonic clock."""
        entry = log.get(store.name)
        if entry is not None and entry.update_cid != update.cid:
            entry = None  # the entry belongs to an earlier training of the same round
        if entry is not None and entry.state is UploadState.WRONG:
            now, key = self.monotonic(), (store.name, update.cid)
            if now - self._wrong_since.setdefault(key, now) < _WRONG_SECONDS:
                raise _wrong_cid(store.name, entry.cid or "")
            del self._wrong_since[key]
            entry = Upload(store.name, update.cid, UploadState.BEGUN)
            log.save(entry)
        cid = None if entry is None else entry.cid
        if cid is None:
            if entry is None:
                log.save(Upload(store.name, update.cid, UploadState.BEGUN))
            cid = await upload(store, update, progress, self._share(until), look_first=entry is not None)
            try:
                await asyncio.to_thread(_require_same_bytes, store.name, update, cid)
            except (InvalidCid, IntegrityError):
                log.save(Upload(store.name, update.cid, UploadState.WRONG, cid[:_LONGEST_CID]))
                raise
            log.save(Upload(store.name, update.cid, UploadState.STORED, cid))
        self.tell(f"The store {store.name} has pinned the update as {cid}. Reading it back through a gateway…")
        try:
            fetched = await self._read_back(cid, update, scratch, self._share(until))
        except _PASSING:
            resumed = entry is not None and entry.cid is not None
            if not resumed or not await in_own_thread(partial(has_lost, store, cid)):
                raise
            return await self._again(store, update, log, scratch, progress, until)
        log.save(Upload(store.name, update.cid, UploadState.READABLE, cid))
        return PinnedUpdate(cid, store.name, fetched.gateway, fetched.size)

    def _share(self, until: float | None) -> float | None:
        """Return the part of the time until a deadline that a step may take; None for no limit."""
        return None if until is None else max(0.0, until - self.monotonic()) * _SHARE

    async def _read_back(self, cid: str, update: Publishable, scratch: Path, most: float | None) -> Fetched:
        end = self.monotonic() + (math.inf if most is None else most)
        deadline = min(self.monotonic() + self.read_back_seconds, end)
        failures, said = 0, ""
        while True:
            left = max(deadline - self.monotonic(), self.fetch_seconds + update.size / _READ_RATE)
            left = min(left, end - self.monotonic())
            try:
                async with time_limit(left, "No gateway delivered the update"):
                    return await in_thread(partial(_read_back, self.reader, cid, update.size, scratch))
            except _PASSING as error:
                failures += 1
                pause = max(_BACKOFF.after(failures), getattr(error, "retry_after", None) or 0.0)
                if self.monotonic() + pause > deadline:
                    raise _unreadable(cid, error) from error
                if error.message != said:
                    said = error.message
                    self.tell(f"{said} Retrying for up to {deadline - self.monotonic():.0f} s…")
            await self.sleep(pause)


def _read_back(reader: Fetcher, cid: str, size: int, scratch: Path, cancel: threading.Event) -> Fetched:
    """Download and verify an uploaded file as anyone else would, then remove the downloaded copy."""
    try:
        return reader.fetch(cid, scratch, max_bytes=size, cancel=cancel)
    finally:
        scratch.unlink(missing_ok=True)


def _require_same_bytes(store: str, update: Publishable, cid: str) -> None:
    """Check that ``cid`` is the update's CID under one of the `PROFILES`.

    Raises:
        IntegrityError: ``cid`` is the CID of something else.
        InvalidCid: ``cid`` is not a CID that this package can verify.
    """
    if cid != update.cid and profile_of(update.path, Cid.parse(cid)) is None:
        raise _wrong_cid(store, cid)


def _wrong_cid(store: str, cid: str) -> IntegrityError:
    shown = cid if cid.isascii() and cid.isalnum() else repr(cid)
    return IntegrityError(
        f"The store {store} returned the CID {shown}, which does not match the update's bytes.",
        fix="The update was not submitted. Check the store, or use another one.",
    )


def _unreadable(cid: str, error: StoreError) -> StoreError:
    message = f"The update is stored as {cid} but cannot be read back yet: {error.message.rstrip('.')}."
    fix = "Wait: the update can be submitted once it is readable, and no work is lost."
    if isinstance(error, StoreUnavailable):
        return StoreUnavailable(message, fix=fix, retry_after=error.retry_after)
    return ContentNotFound(message, fix=fix)


def _combined(failures: Sequence[tuple[str, StoreError]]) -> StoreError:
    """Return one error for the failures of all stores, with all their messages.

    The caller decides by the class of the error whether to retry. So the error has the class of the failure that a
    retry is most likely to resolve.
    """
    if len(failures) == 1:
        return failures[0][1]
    best = most_hopeful([error for _, error in failures])
    message = "No storage accepted the update: " + "; ".join(
        f"{name}: {error.message.rstrip('.')}" for name, error in failures
    )
    fixes = " ".join(dict.fromkeys(error.fix for _, error in failures if error.fix))
    if isinstance(best, StoreUnavailable):
        waits = [error.retry_after or 0.0 for _, error in failures if isinstance(error, StoreUnavailable)]
        return StoreUnavailable(f"{message}.", fix=fixes, retry_after=min(waits) or None)
    return type(best)(f"{message}.", fix=fixes)
