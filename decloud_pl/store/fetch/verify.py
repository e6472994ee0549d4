"""Errors for downloads from untrusted sources."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from decloud_pl.errors import SizeLimitExceeded, StoreError
from decloud_pl.store.ipfs.cid import Cid


@contextmanager
def writing(destination: Path) -> Iterator[None]:
    """Convert an `OSError` of the ``with`` block into a `StoreError` with the message "… cannot be written".

    The message names ``destination``. But if the `OSError` names a file in another folder, such as the cache, the
    message names that file instead.
    """
    try:
        yield
    except OSError as error:
        named = error.filename2 or error.filename  # `filename2` is the destination of a copy
        place = destination if named is None or Path(named).parent == destination.parent else named
        raise StoreError(
            f"{place} cannot be written: {error.strerror}.", fix="Free disk space or check the folder."
        ) from error


def too_large(root: Cid, max_bytes: int) -> SizeLimitExceeded:
    """Return the error for a file that exceeds the limit."""
    return SizeLimitExceeded(f"{root} is larger than the limit of {max_bytes:,} bytes.")
