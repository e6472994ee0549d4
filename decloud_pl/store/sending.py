"""A file that is uploaded to a store."""

from __future__ import annotations

import io
import re
from pathlib import Path

from decloud_pl.errors import StoreError
from decloud_pl.store import Progress


def checked_file(path: Path) -> int:
    """Check that a path is a file; return the size of the file in bytes.

    Raises:
        StoreError: the path is not a file.
    """
    if not path.is_file():
        raise StoreError(f"{path} cannot be uploaded: it is not a file.", fix="Check the path.")
    return path.stat().st_size


class SentFile(io.FileIO):
    """An open file for an upload. After each read, it reports its position to ``progress``.

    Attributes:
        name: the file name that the server gets. It is ASCII only, because servers decode other characters differently.
        size: the size of the file in bytes.

    Raises:
        StoreError: the path is not a file, or the file cannot be read.
    """

    name: str

    def __init__(self, path: Path, progress: Progress | None = None) -> None:
        self.size = checked_file(path)
        self._progress = progress
        try:
            super().__init__(path)
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}.", fix="Check its permissions.") from error
        self.name = re.sub(r"[^A-Za-z0-9._-]", "_", path.name)[-100:] or "file"

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if self._progress is not None:
            self._progress(self.tell(), self.size)
        return data
