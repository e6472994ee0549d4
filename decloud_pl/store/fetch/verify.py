"""Bytes on their way from a stranger to a file: nothing appears before every byte is known to be right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from decloud_pl.errors import IntegrityError, SizeLimitExceeded, StoreError
from decloud_pl.store.ipfs.cid import Cid
from decloud_pl.store.ipfs.unixfs import profile_of


@contextmanager
def writing(destination: Path) -> Iterator[None]:
    """Raises `StoreError` where the disk refuses what is written to a file, or to another one on the way to it."""
    try:
        yield
    except OSError as error:
        named = error.filename2 or error.filename  # of a copy, where it goes
        place = destination if named is None or Path(named).parent == destination.parent else named
        raise StoreError(
            f"{place} cannot be written: {error.strerror}.", fix="Free disk space or check the folder."
        ) from error


def require_match(path: Path, root: Cid) -> None:
    """Imports a file again under every known profile.

    Raises:
        IntegrityError: none of them gives ``root``.
    """
    if profile_of(path, root) is None:
        raise IntegrityError(f"The bytes do not match {root}.", fix="The source is broken or lies.")


def too_large(root: Cid, max_bytes: int) -> SizeLimitExceeded:
    """The error for a file over its limit."""
    return SizeLimitExceeded(
        f"{root} is larger than the limit of {max_bytes:,} bytes.", fix="Raise the limit if you trust its origin."
    )
