"""Atomic file replacement, locks that end with their process, and folders and logs that only this user can open."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Yield the path of a scratch file that replaces ``path`` when the block ends, and sync it to disk.

    If the block raises, the scratch file is deleted and the old file remains.

    Raises:
        OSError: the file cannot be moved; the old one remains.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.part")
    try:
        yield scratch
        replace_durably(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Replace a small file.

    Args:
        path: the file.
        data: its new content.
        mode: permission bits, set before the content is written; None for the default of new files.

    Raises:
        OSError: the file cannot be written; the old one remains.
    """
    with appearing(path) as scratch:
        if mode is not None:
            scratch.touch(mode)
        scratch.write_bytes(data)


def copy_atomically(source: Path, path: Path) -> None:
    """Replace a file with a copy of another.

    Raises:
        OSError: reading or writing failed; the old file remains.
    """
    with appearing(path) as scratch:
        shutil.copyfile(source, scratch)


def replace_durably(scratch: Path, path: Path) -> None:
    """Move a complete file over another one in the same folder, and sync the file and the folder to disk.

    Raises:
        OSError: the file cannot be moved; the old one remains.
    """
    with scratch.open("rb") as file:
        os.fsync(file.fileno())
    scratch.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def make_private(folder: Path) -> None:
    """Create a folder and its missing parents with mode 0700. Existing folders keep their mode.

    Raises:
        OSError: the folder cannot be created, or a file has its name.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except FileNotFoundError:
        make_private(folder.parent)  # `parents=True` would create it with the default mode
        folder.mkdir(mode=0o700, exist_ok=True)


def private(path: str, flags: int) -> int:
    """An ``opener`` for `open` that creates new files with mode 0600."""
    return os.open(path, flags, 0o600)


def private_log(path: Path) -> BinaryIO:
    """Open a child's log file for appending; a new file has mode 0600.

    Raises:
        OSError: the file cannot be opened.
    """
    return open(path, "ab", opener=private)


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock until the block or the process ends.

    Args:
        path: the lock file; it is created if it is missing, and never deleted.
        wait: wait until another process releases the lock.

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
    """Create a temporary folder for the duration of the block, and remove folders that killed processes left.

    Args:
        prefix: the beginning of the folder's name. Only folders with this prefix are removed.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*/.lock"):
        with suppress(OSError), locked(left, wait=False):  # in use, or owned by another user
            shutil.rmtree(left.parent, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        with locked(folder / ".lock"):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
