"""A file on its way to a store."""

from __future__ import annotations

import io
import re
from pathlib import Path

from decloud_pl.errors import StoreError
from decloud_pl.store import Progress


def checked_file(path: Path) -> int:
    """The size of a file that is to be sent.

    Raises:
        StoreError: it is not a file.
    """
    if not path.is_file():
        raise StoreError(f"{path} cannot be put into the store: it is not a file.", fix="Check its name.")
    return path.stat().st_size


class SentFile(io.FileIO):
    """A file that tells ``progress`` how much of it was read.

    Attributes:
        name: for a server: ASCII only, because servers disagree about how to write anything else.
        size: bytes.

    Raises:
        StoreError: it is not a file, or cannot be read.
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
