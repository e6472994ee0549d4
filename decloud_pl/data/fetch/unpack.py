"""Extract only a data set's own files from an archive. The files may be in any folder of the archive."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from decloud_pl.durable import appearing
from decloud_pl.errors import DatasetError

MOST_BYTES = 8 << 30
_CHUNK = 1 << 20
# The archive readers raise these for damaged archives. A RuntimeError means an encrypted member. Any other OSError
# comes from the disk.
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    RuntimeError,
    ValueError,
    OverflowError,
)


def is_archive(name: str) -> bool:
    """Return whether a file of this name is an archive to extract."""
    return name.endswith((".tar.gz", ".tgz", ".tar", ".zip"))


def unpack(archive: Path, name: str, folder: Path, *, wanted: Iterable[str]) -> dict[str, str]:
    """Extract the wanted files into ``folder``. They may be in any folder of the archive.

    If a wanted file is gzipped in the archive, it is extracted with its suffix ``.gz`` and not decompressed.

    Args:
        archive: the file to read.
        name: the published name of the archive. Its suffix determines the format.
        folder: the destination.
        wanted: names of the files without folder and without ``.gz``.

    Returns:
        The SHA-256 of each extracted file, by its file name in ``folder``.

    Raises:
        DatasetError: the archive is damaged, lacks a wanted file, or has more than 8 GiB of wanted files.
    """
    missing = set(wanted)
    sums: dict[str, str] = {}
    left = MOST_BYTES
    try:
        for member, size, stream in _zip(archive) if name.endswith(".zip") else _tar(archive):
            base = PurePosixPath(member).name
            plain = base.removesuffix(".gz")
            if plain not in missing:
                continue
            left -= size
            if left < 0:
                raise DatasetError(
                    f"The files of the data set in {name} exceed the limit of {MOST_BYTES:,} bytes.",
                    fix="Check where the archive comes from.",
                )
            sums[base] = _copy(stream, folder / base, size)
            missing.discard(plain)
    except _DAMAGE as error:
        raise DatasetError(f"{name} is damaged.", fix="Download it again.") from error
    if missing:
        raise DatasetError(f"{name} does not contain {min(missing)}.", fix="Download it again.")
    return sums


def _tar(archive: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    with tarfile.open(archive) as tar:
        for member in tar:
            stream = tar.extractfile(member) if member.isfile() else None
            if stream is not None:
                yield member.name, member.size, stream


def _zip(archive: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    with zipfile.ZipFile(archive) as packed:
        for member in packed.infolist():
            if not member.is_dir():
                with packed.open(member) as stream:
                    yield member.filename, member.file_size, stream


def _copy(stream: IO[bytes], target: Path, size: int) -> str:
    digest = hashlib.sha256()
    with appearing(target) as scratch, scratch.open("wb") as file:
        while size > 0 and (chunk := stream.read(min(_CHUNK, size))):
            digest.update(chunk)
            file.write(chunk)
            size -= len(chunk)
        if size:
            raise EOFError
    return digest.hexdigest()
