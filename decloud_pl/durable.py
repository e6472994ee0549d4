"""Atomic file replacement, locks that end with their process, and folders and logs that only this user can open."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Yield the path of a scratch file. When the block ends, sync the scratch file to disk and move it to ``path``.

    If the block raises, the scratch file is deleted and the old file at ``path`` remains.

    Raises:
        OSError: the scratch file cannot be moved; the old file remains.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.part")
    try:
        yield scratch
        replace_durably(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Write a small file, or replace it if it exists. After a crash, the file has its old or its new content.

    Args:
        path: the file.
        data: the new content.
        mode: the permission bits, set before the content is written; None for the default mode of new files.

    Raises:
        OSError: the file cannot be written; the old file remains.
    """
    with appearing(path) as scratch:
        if mode is not None:
            scratch.touch(mode)
        scratch.write_bytes(data)


def copy_atomically(source: Path, path: Path) -> None:
    """Copy ``source`` to ``path``, and replace the file at ``path`` if there is one.

    Raises:
        OSError: reading or writing failed; the old file remains.
    """
    with appearing(path) as scratch:
        shutil.copyfile(source, scratch)


def link_or_copy(source: Path, path: Path) -> None:
    """Make ``path`` a hard link to ``source``, or a copy if hard links are not supported. Replace the file at ``path``.

    Raises:
        OSError: the file cannot be created; the old file remains.
    """
    with appearing(path) as scratch:
        try:
            os.link(source, scratch)
        except OSError:
            shutil.copyfile(source, scratch)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def replace_durably(scratch: Path, path: Path) -> None:
    """Move a complete file to ``path`` in the same folder, and sync the file and the folder to disk.

    An existing file at ``path`` is replaced.

    Raises:
        OSError: the file cannot be moved; the old file remains.
    """
    with scratch.open("rb") as file:
        os.fsync(file.fileno())
    scratch.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Sync a folder to disk, so that its new files are still in it after a power failure.

    Raises:
        OSError: the folder cannot be read or synced.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private(folder: Path) -> None:
    """Create a folder and its missing parents with mode 0700. Existing folders keep their mode.

    Raises:
        OSError: the folder cannot be created, for example because a file with that name exists.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except FileNotFoundError:
        make_private(folder.parent)  # `parents=True` would create it with the default mode
        folder.mkdir(mode=0o700, exist_ok=True)


def private(path: str, flags: int) -> int:
    """Open a file, and create it with mode 0600 if it is missing. Pass this function to `open` as ``opener``."""
    return os.open(path, flags, 0o600)


def private_log(path: Path) -> BinaryIO:
    """Open a child process's log file for appending. A new file gets mode 0600.

    Raises:
        OSError: the file cannot be opened.
    """
    return open(path, "ab", opener=private)


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock until the block or the process ends.

    Args:
        path: the lock file; it is created if it is missing, and never deleted.
        wait: whether to wait until another process releases the lock.

    Raises:
        BlockingIOError: another process holds the lock, and ``wait`` is False.
        OSError: the file cannot be opened.
    """
    from filelock import FileLock, Timeout  # imported here, because it takes 20 ms

    lock = FileLock(path, timeout=-1 if wait else 0, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        raise BlockingIOError(f"Another process holds the lock {path}.") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """Create a temporary folder for the duration of the block. Remove folders that killed processes left behind.

    Args:
        prefix: the beginning of the new folder's name. Only old folders of this user with this prefix are removed.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*/.lock"):
        # In a folder of another user, the lock could be a link to a file of this user.
        with suppress(OSError):
            if left.parent.lstat().st_uid == os.geteuid():
                with locked(left, wait=False):  # raises an error if the folder is in use
                    shutil.rmtree(left.parent, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        with locked(folder / ".lock"):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
