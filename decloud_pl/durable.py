"""Files that are whole after a crash: the old content or the new one, never a part."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Replaces a small file.

    Raises:
        OSError: the file cannot be written; the old one stays.
    """
    scratch = path.with_name(path.name + ".part")
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
