"""A cache of downloaded files by CID. It avoids repeated downloads and resumes interrupted downloads."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from decloud_pl.durable import link_or_copy, make_private, sha256_of, write_atomically
from decloud_pl.store.fetch.fetcher import FROM_CACHE, NEVER, Cancelled, Fetched
from decloud_pl.store.fetch.gateway import GatewayReader
from decloud_pl.store.fetch.verify import too_large, writing
from decloud_pl.store.ipfs.cid import Cid
from decloud_pl.store.ipfs.unixfs import profile_of

DEFAULT_MAX_BYTES = 4 << 30
_TICK = 0.05
_PARTIAL = ".partial"
_PARTIAL_SECONDS = 7 * 86_400
_NOTE = ".sha256"
"""The ending of the file with the SHA-256 of a verified file whose CID cannot be computed from its bytes alone: it was
divided into blocks by none of the known profiles, and only the download showed how."""


class CachedReader:
    """A reader with a cache folder. It verifies cached files again at every use.

    Args:
        reader: downloads files that are not in the cache.
        folder: the cache, with one file per CID and a small one beside some of them. Any file in it may be deleted at
            any time.
        max_bytes: the size limit of the cache; the least recently used files are removed first.
        now: returns Unix seconds, for the age of cached files.
    """

    def __init__(
        self,
        reader: GatewayReader,
        folder: Path,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._reader = reader
        self._folder = folder
        self._max_bytes = max_bytes
        self._now = now
        self._locks: dict[str, threading.Lock] = {}

    def fetch(self, cid: str, destination: Path, *, max_bytes: int, cancel: threading.Event = NEVER) -> Fetched:
        """Fetch a file as `GatewayReader.fetch` does. For a cached file, the result names ``cache`` as the gateway."""
        root = Cid.parse(cid)
        kept = self._folder / str(root)
        with writing(destination):
            make_private(self._folder)
            # Two rounds with the same base model must not download it at the same time.
            with _held(self._locks.setdefault(cid, threading.Lock()), cancel), self._within_limit(kept):
                while True:
                    fetched = self._kept(kept, root, max_bytes)
                    is_new = fetched is None
                    if fetched is None:
                        partial = self._folder / f"{root}{_PARTIAL}"
                        fetched = self._reader.fetch(cid, kept, max_bytes=max_bytes, cancel=cancel, partial=partial)
                    try:
                        if is_new and profile_of(kept, root) is None:
                            write_atomically(_note_of(kept), sha256_of(kept).encode("ascii"))
                        link_or_copy(kept, destination)
                    except FileNotFoundError:
                        if kept.exists():
                            raise
                        continue  # another process removed the file in this moment
                    return fetched

    @contextmanager
    def _within_limit(self, newest: Path) -> Iterator[None]:
        """Remove files at the end of the block, also after a failure: a cancelled download leaves its beginning."""
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                self._evict(newest)

    def _kept(self, kept: Path, root: Cid, max_bytes: int) -> Fetched | None:
        try:
            size = kept.stat().st_size
            if size > max_bytes:
                raise too_large(root, max_bytes)
            if not _is_noted(kept) and profile_of(kept, root) is None:
                kept.unlink()
                return None
            os.utime(kept, (self._now(), self._now()))
        except FileNotFoundError:  # it is not cached, or another process has just removed it
            return None
        return Fetched(FROM_CACHE, size)

    def _evict(self, newest: Path) -> None:
        """Remove the least recently used files until the cache is within its limit, but never the file ``newest``.

        Interrupted downloads older than a week are removed in any case.
        """
        files: list[tuple[os.stat_result, Path]] = []
        for path in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process may remove files at any time
                files.append((path.stat(), path))
        files.sort(key=lambda entry: entry[0].st_mtime)
        left = sum(stat.st_size for stat, _ in files)
        for stat, path in files:
            old = path.suffix == _PARTIAL and stat.st_mtime < self._now() - _PARTIAL_SECONDS
            if path != newest and (old or left > self._max_bytes):
                path.unlink(missing_ok=True)
                left -= stat.st_size


def _note_of(kept: Path) -> Path:
    return kept.with_name(kept.name + _NOTE)


def _is_noted(kept: Path) -> bool:
    """Return whether a file has the SHA-256 that was noted after its verification."""
    note = _note_of(kept)
    return note.exists() and note.read_bytes() == sha256_of(kept).encode("ascii")


@contextmanager
def _held(lock: threading.Lock, cancel: threading.Event) -> Iterator[None]:
    while not lock.acquire(timeout=_TICK):
        if cancel.is_set():
            raise Cancelled
    try:
        yield
    finally:
        lock.release()
