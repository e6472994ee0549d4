"""Bytes on their way from a stranger to a file: nothing appears before every byte is known to be right."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from decloud_pl.errors import IntegrityError, SizeLimitExceeded
from decloud_pl.store.ipfs.cid import Cid
from decloud_pl.store.ipfs.unixfs import CidWriter, profile_of


def receive(body: Iterable[bytes], root: Cid, destination: Path, *, max_bytes: int, verified: bool) -> int:
    """Writes a file and renames it to ``destination`` when it is what ``root`` names.

    Args:
        body: the file's bytes.
        root: the CID asked for.
        destination: replaced when it exists.
        max_bytes: the most to accept.
        verified: whether ``body`` checks its blocks itself, as `file_in_car` does.

    Returns:
        Bytes.

    Raises:
        IntegrityError: other bytes.
        SizeLimitExceeded: more than ``max_bytes``.
        OSError: the file cannot be written.
    """
    with CidWriter(destination) as writer:
        for part in body:
            writer.write(part)
            if writer.size > max_bytes:
                raise too_large(root, max_bytes)
        if not verified:
            cid = writer.finish()
            writer.flush()
            if (cid.codec, cid.digest) != (root.codec, root.digest):
                require_match(writer.scratch, root)
        writer.commit()
        return writer.size


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
