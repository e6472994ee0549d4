"""Upload a file to one store, with a limit for the time without progress."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from decloud_pl.domain import Update
from decloud_pl.errors import StoreError, StoreRejected, StoreUnavailable
from decloud_pl.loop_thread import in_own_thread
from decloud_pl.store import Progress, Store
from decloud_pl.store.ipfs.cid import DEFAULT_PROFILE, PROFILES
from decloud_pl.store.ipfs.unixfs import cid_of_file
from decloud_pl.store.sending import checked_file


@dataclass(frozen=True, slots=True)
class LocalFile:
    """Any file to publish, not only an update. ``cid`` is its CID under ``profile``; ``size`` is in bytes."""

    path: Path
    cid: str
    profile: str
    size: int

    @classmethod
    def of(cls, path: Path, profile: str = DEFAULT_PROFILE) -> LocalFile:
        """Create a `LocalFile` from a file on disk. This reads the whole file to compute its CID.

        Raises:
            StoreError: the path is not a file, or the file cannot be read.
        """
        size = checked_file(path)
        try:
            return cls(path, str(cid_of_file(path, profile)), profile, size)
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}.", fix="Check its permissions.") from error


Publishable = Update | LocalFile

StoreProgress = Callable[[str, int, int], None]
"""Called with (store name, bytes sent, total bytes)."""


async def upload(
    store: Store,
    update: Publishable,
    progress: StoreProgress | None,
    silence: float | None,
    *,
    look_first: bool,
) -> str:
    """Upload the update and return the CID under which the store has it.

    If ``look_first`` is true and the store has the update already, do not upload it. End the upload if no more
    bytes are sent for ``silence`` seconds. None means no limit.

    Raises:
        StoreUnavailable: the upload made no progress for this time.
    """
    loop = asyncio.get_running_loop()
    async with time_limit(silence, f"The store {store.name} received no data") as limit:

        def extend() -> None:
            with suppress(RuntimeError):  # the time is over
                limit.reschedule(loop.time() + (silence or 0.0))

        def sent(name: str, done: int, total: int) -> None:
            if progress is not None:
                progress(name, done, total)
            if silence is not None:
                loop.call_soon_threadsafe(extend)

        with _cancellable(store.name, sent) as report:
            if look_first:
                found = await in_own_thread(partial(_find, store, update))
                if found is not None:
                    return found
            stored = await in_own_thread(partial(store.put, update.path, update.profile, progress=report))
    return stored.cid


@asynccontextmanager
async def time_limit(seconds: float | None, what: str) -> AsyncIterator[asyncio.Timeout]:
    """Cancel the block after some seconds. None means no limit. The block can reschedule the limit.

    Raises:
        StoreUnavailable: the time is over. ``what`` begins the message.
    """
    try:
        async with asyncio.timeout(seconds) as limit:
            yield limit
    except TimeoutError as error:
        if seconds is None or not limit.expired():
            raise
        fix = "Check the connection, or add a store to storage.fallback or a gateway to network.gateways."
        raise StoreUnavailable(f"{what} within {seconds:.0f} s.", fix=fix) from error


def _find(store: Store, update: Publishable) -> str | None:
    """Return the CID under which a store already has the update, or None if no copy is found.

    The update has a different CID under each of the `PROFILES`. This function looks for all of them.
    """
    candidates = [update.cid, *(str(cid_of_file(update.path, name)) for name in PROFILES if name != update.profile)]
    try:
        return next((cid for cid in dict.fromkeys(candidates) if store.has(cid)), None)
    except StoreRejected:
        # Some keys may upload files but not list them. A second upload is harmless: a store keeps equal bytes once.
        return None


def has_lost(store: Store, cid: str) -> bool:
    """Return whether a store answers that it does not have a file. Return False if the store cannot be asked."""
    try:
        return not store.has(cid)
    except StoreError:
        return False


class _Stopped(BaseException):
    """Raised in the upload thread to end an upload whose task was cancelled."""


@contextmanager
def _cancellable(store: str, progress: StoreProgress | None) -> Iterator[Progress]:
    """Yield a progress callback for an upload. Once the context has ended, the callback raises `_Stopped`.

    So an upload in another thread ends soon after its task was cancelled.
    """
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
