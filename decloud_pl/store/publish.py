"""Publishing: a CID is handed on only after the store's copy was read back, byte for byte, by another way.

Each step is in the log before and after it happens, so that a publisher that was killed pins nothing twice.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from decloud_pl.domain import PinnedUpdate, Update
from decloud_pl.errors import ContentNotFound, IntegrityError, InvalidCid, StoreError, StoreRejected, StoreUnavailable
from decloud_pl.loop_thread import LoopThread, in_own_thread
from decloud_pl.retry import Backoff
from decloud_pl.store import Progress, Store
from decloud_pl.store.fetch.fetcher import Fetched, Fetcher, in_thread
from decloud_pl.store.fetch.gateway import most_hopeful
from decloud_pl.store.ipfs.cid import DEFAULT_PROFILE, PROFILES, Cid
from decloud_pl.store.ipfs.unixfs import cid_of_file, profile_of
from decloud_pl.store.sending import checked_file
from decloud_pl.store.uploads import MemoryUploadLog, Upload, UploadLog, UploadState

logger = logging.getLogger(__name__)

_LONGEST_CID = 80
_PASSING = (StoreUnavailable, ContentNotFound)
_BACKOFF = Backoff(1.0, 20.0)
"""Between two looks whether a store's copy is readable."""


@dataclass(frozen=True, slots=True)
class LocalFile:
    """Any file, to publish: its CID under a profile, and its size in bytes."""

    path: Path
    cid: str
    profile: str
    size: int

    @classmethod
    def of(cls, path: Path, profile: str = DEFAULT_PROFILE) -> LocalFile:
        """Reads a file once for its CID.

        Raises:
            StoreError: it is not a file, or cannot be read.
        """
        size = checked_file(path)
        try:
            return cls(path, str(cid_of_file(path, profile)), profile, size)
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}.", fix="Check its permissions.") from error


Publishable = Update | LocalFile

StoreProgress = Callable[[str, int, int], None]
"""Told (store, bytes sent, bytes in all)."""


@dataclass(frozen=True)
class StorePublisher:
    """Puts updates into the first store that takes them and proves that others can fetch them: a `Publisher`.

    Args:
        stores: in the order to try.
        reader: fetches back, as a validator would; must not have a cache.
        read_back_seconds: how long a store's copy may take to become readable elsewhere; afterwards the next store is
            tried, and this one again later.
        sleep, monotonic: the time; tests inject their own.
        tell: told in a sentence what is waited for, when that begins and when the reason changes.
    """

    stores: Sequence[Store]
    reader: Fetcher
    read_back_seconds: float = 120.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    monotonic: Callable[[], float] = time.monotonic
    tell: Callable[[str], None] = logger.info

    def publish(self, update: Publishable) -> PinnedUpdate:
        """Publishes once, for a notebook or a script, also where an event loop runs.

        Raises:
            StoreError: as `pin`.
        """
        thread = LoopThread("publish")
        try:
            with tempfile.TemporaryDirectory(prefix="decloud-publish-") as folder:
                return thread.run(self.pin(update, log=MemoryUploadLog(), scratch=Path(folder) / "read-back"))
        finally:
            thread.close()

    async def pin(
        self, update: Publishable, *, log: UploadLog, scratch: Path, progress: StoreProgress | None = None
    ) -> PinnedUpdate:
        """Uploads what is not uploaded yet and reads it back. May be repeated, and goes on where it was.

        Args:
            update: the finished training on disk.
            log: what happened so far; called from this thread only.
            scratch: a file name for what is read back; removed afterwards.
            progress: called from another thread.

        Raises:
            StoreUnavailable: try again later; nothing is lost.
            ContentNotFound: a store took it, but nobody can fetch it yet; try again later.
            StoreRejected: no store accepts it; only the user can mend that.
            IntegrityError: a store's CID names other bytes, or the bytes read back do.
        """
        failures: list[tuple[str, StoreError]] = []
        for store in self.stores:
            try:
                return await self._through(store, update, log, scratch, progress)
            except StoreError as error:
                logger.info("Publishing through %s: %s", store.name, error)
                failures.append((store.name, error))
        raise _combined(failures)

    async def _through(
        self, store: Store, update: Publishable, log: UploadLog, scratch: Path, progress: StoreProgress | None
    ) -> PinnedUpdate:
        entry = log.get(store.name)
        if entry is not None and entry.update_cid != update.cid:
            entry = None  # of an earlier training of the same round
        if entry is not None and entry.state is UploadState.WRONG:
            raise _wrong_cid(store.name, entry.cid or "")
        cid = None if entry is None else entry.cid
        if cid is None:
            if entry is None:
                log.save(Upload(store.name, update.cid, UploadState.BEGUN))
            cid = await self._upload(store, update, progress, look_first=entry is not None)
            try:
                await asyncio.to_thread(_require_same_bytes, store.name, update, cid)
            except (InvalidCid, IntegrityError):
                log.save(Upload(store.name, update.cid, UploadState.WRONG, cid[:_LONGEST_CID]))
                raise
            log.save(Upload(store.name, update.cid, UploadState.STORED, cid))
        self.tell(f"The store {store.name} keeps it as {cid}. Reading it back through a gateway…")
        fetched = await self._read_back(cid, update, scratch)
        log.save(Upload(store.name, update.cid, UploadState.READABLE, cid))
        return PinnedUpdate(cid, store.name, fetched.gateway, fetched.size)

    async def _upload(
        self, store: Store, update: Publishable, progress: StoreProgress | None, *, look_first: bool
    ) -> str:
        """The CID under which the store keeps the update, uploaded unless an earlier try has done so."""
        with _cancellable(store.name, progress) as report:
            if look_first:
                found = await in_own_thread(partial(_find, store, update))
                if found is not None:
                    return found
            stored = await in_own_thread(partial(store.put, update.path, update.profile, progress=report))
        return stored.cid

    async def _read_back(self, cid: str, update: Publishable, scratch: Path) -> Fetched:
        deadline = self.monotonic() + self.read_back_seconds
        failures, said = 0, ""
        while True:
            try:
                return await in_thread(partial(_read_back, self.reader, cid, update.size, scratch))
            except _PASSING as error:
                failures += 1
                pause = max(_BACKOFF.after(failures), getattr(error, "retry_after", None) or 0.0)
                if self.monotonic() + pause > deadline:
                    raise _unreadable(cid, error) from error
                if error.message != said:
                    said = error.message
                    self.tell(f"{said} Trying again for up to {deadline - self.monotonic():.0f} s…")
            await self.sleep(pause)


def _read_back(reader: Fetcher, cid: str, size: int, scratch: Path, cancel: threading.Event) -> Fetched:
    """Fetches a file as a stranger would, verified, and removes it again."""
    try:
        return reader.fetch(cid, scratch, max_bytes=size, cancel=cancel)
    finally:
        scratch.unlink(missing_ok=True)


def _require_same_bytes(store: str, update: Publishable, cid: str) -> None:
    """Makes sure that a CID is the update's, under the profile asked for or another one that is known."""
    if cid != update.cid and profile_of(update.path, Cid.parse(cid)) is None:
        raise _wrong_cid(store, cid)


def _find(store: Store, update: Publishable) -> str | None:
    """The CID under which a store has the update already, under whatever profile; None when it has not."""
    candidates = [update.cid, *(str(cid_of_file(update.path, name)) for name in PROFILES if name != update.profile)]
    try:
        return next((cid for cid in dict.fromkeys(candidates) if store.has(cid)), None)
    except StoreRejected:
        # Keys that may upload but not list exist; a store keeps equal bytes once anyway.
        return None


class _Stopped(BaseException):
    """Ends an upload from within, when nobody waits for it any more."""


@contextmanager
def _cancellable(store: str, progress: StoreProgress | None) -> Iterator[Progress]:
    """A progress callback that ends its upload once the context was left by a cancellation."""
    stopped = False

    def report(sent: int, total: int) -> None:
        if stopped:
            raise _Stopped
        if progress is not None:
            progress(store, sent, total)

    try:
        yield report
    finally:
        stopped = True


def _wrong_cid(store: str, cid: str) -> IntegrityError:
    shown = cid if cid.isascii() and cid.isalnum() else repr(cid)
    return IntegrityError(
        f"The store {store} gave the CID {shown}, which names other bytes than the update's.",
        fix="Nothing was submitted. Check the store, or use another one.",
    )


def _unreadable(cid: str, error: StoreError) -> StoreError:
    message = f"The update is stored as {cid}, but cannot be read back yet: {error.message.rstrip('.')}."
    fix = "It can be submitted once it is readable; nothing is lost by waiting."
    if isinstance(error, StoreUnavailable):
        return StoreUnavailable(message, fix=fix, retry_after=error.retry_after)
    return ContentNotFound(message, fix=fix)


def _combined(failures: Sequence[tuple[str, StoreError]]) -> StoreError:
    """The failure that another try is most likely to mend, with what the others said."""
    if len(failures) == 1:
        return failures[0][1]
    best = most_hopeful([error for _, error in failures])
    message = "No storage has taken the update: " + "; ".join(
        f"{name}: {error.message.rstrip('.')}" for name, error in failures
    )
    fixes = " ".join(dict.fromkeys(error.fix for _, error in failures if error.fix))
    if isinstance(best, StoreUnavailable):
        waits = [error.retry_after or 0.0 for _, error in failures if isinstance(error, StoreUnavailable)]
        return StoreUnavailable(f"{message}.", fix=fixes, retry_after=min(waits) or None)
    return type(best)(f"{message}.", fix=fixes)
