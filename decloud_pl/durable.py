"""Files that are whole after a crash, with the old content or the new one, and locks that end with their process.

Also folders and logs that only this user can open.
"""

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
    """A scratch file beside ``path`` that takes its place when the block ends, and is on disk then.

    Where the block raises, the old file stays and the scratch file goes.

    Raises:
        OSError: the file cannot be moved; the old one stays.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.part")
    try:
        yield scratch
        replace_durably(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Replaces a small file.

    Args:
        path: the file.
        data: its new content.
        mode: its permission bits, from its first byte on; None for those of any new file.

    Raises:
        OSError: the file cannot be written; the old one stays.
    """
    with appearing(path) as scratch:
        if mode is not None:
            scratch.touch(mode)
        scratch.write_bytes(data)


def copy_atomically(source: Path, path: Path) -> None:
    """Replaces a file by a copy of another.

    Raises:
        OSError: one cannot be read or the other not written; the old one stays.
    """
    with appearing(path) as scratch:
        shutil.copyfile(source, scratch)


def replace_durably(scratch: Path, path: Path) -> None:
    """Moves a complete file to another's place in the same folder, and returns when both are on disk.

    Raises:
        OSError: the file cannot be moved; the old one stays.
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
    """Makes a folder, and what is missing above it, for this user alone; what is there keeps its mode.

    Raises:
        OSError: it cannot be made, or a file has its name.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except FileNotFoundError:
        make_private(folder.parent)  # `parents=True` would make it with another mode
        folder.mkdir(mode=0o700, exist_ok=True)


def private(path: str, flags: int) -> int:
    """An ``opener`` for `open`: a new file is for this user alone."""
    return os.open(path, flags, 0o600)


def private_log(path: Path) -> BinaryIO:
    """Opens a file that a child's log is appended to; a new one is for this user alone.

    Raises:
        OSError: it cannot be opened.
    """
    return open(path, "ab", opener=private)


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Holds a lock file until the block, or the process, ends.

    Args:
        path: the lock file; made when it is missing, and left where it is.
        wait: for the process that has it.

    Raises:
        BlockingIOError: another process has it, and ``wait`` is off.
        OSError: the file cannot be opened.
    """
    from filelock import FileLock, Timeout  # 20 ms, which no command should pay that locks nothing

    lock = FileLock(path, timeout=-1 if wait else 0, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        raise BlockingIOError(f"Another process holds {path}.") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """A temporary folder, removed with the block; first removes those of processes that were killed.

    Args:
        prefix: of its name; folders with another are left alone.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*/.lock"):
        with suppress(OSError), locked(left, wait=False):  # held, or of another user
            shutil.rmtree(left.parent, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        with locked(folder / ".lock"):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
