"""Files that are whole after a crash, with the old content or the new one, and locks that end with their process."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def write_atomically(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Replaces a small file.

    Args:
        path: the file.
        data: its new content.
        mode: its permission bits, from its first byte on; None for those of any new file.

    Raises:
        OSError: the file cannot be written; the old one stays.
    """
    scratch = path.with_name(path.name + ".part")
    if mode is not None:
        scratch.unlink(missing_ok=True)
        scratch.touch(mode)
    scratch.write_bytes(data)
    replace_durably(scratch, path)


def copy_atomically(source: Path, path: Path) -> None:
    """Replaces a file by a copy of another.

    Raises:
        OSError: one cannot be read or the other not written; the old one stays.
    """
    scratch = path.with_name(path.name + ".part")
    shutil.copyfile(source, scratch)
    replace_durably(scratch, path)


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


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock file, and waits first for the process that has it.

    Raises:
        OSError: the file cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """A temporary folder, removed with the block; first removes those of processes that were killed.

    Args:
        prefix: of its name; folders with another are left alone.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with suppress(OSError), (left / ".lock").open("r+b") as lock:  # held, of another user, or being made
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        with (folder / ".lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
