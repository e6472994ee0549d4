"""A file on its way to a store."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from types import TracebackType

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


def public_name(path: Path) -> str:
    """The file's name for a server: ASCII only, because servers disagree about how to write anything else."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", path.name)[-100:] or "file"


class SentFile(io.RawIOBase):
    """A file that reports how much of it was read; opened on entering the context.

    Args:
        path: what to read.
        progress: told as bytes are read.
    """

    def __init__(self, path: Path, progress: Progress | None = None) -> None:
        # First, because Python closes an object of this kind even where making it failed.
        self._open = contextlib.ExitStack()
        self.name = public_name(path)
        self.size = checked_file(path)
        self._progress = progress
        try:
            self._file = self._open.enter_context(path.open("rb"))
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}.", fix="Check its permissions.") from error

    def __enter__(self) -> SentFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._open.close()
        super().close()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def fileno(self) -> int:
        return self._file.fileno()

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        if self._progress is not None:
            self._progress(self._file.tell(), self.size)
        return data
