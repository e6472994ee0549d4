"""Takes a data set's files out of an archive: only those asked for, by their names alone."""

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
# What the readers of archives raise for one kind of damage or another; RuntimeError is an encrypted member. An
# OSError of another kind is the disk's.
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
    """Whether a file of this name is taken apart."""
    return name.endswith((".tar.gz", ".tgz", ".tar", ".zip"))


def unpack(archive: Path, name: str, folder: Path, *, wanted: Iterable[str]) -> dict[str, str]:
    """Puts the wanted files, or their gzipped form, into ``folder``; wherever they lie in the archive.

    The end of ``name``, what the archive is called, says what it is. Returns SHA-256 by file.

    Raises:
        DatasetError: the archive is damaged, lacks a file, or holds more than 8 GB.
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
                raise DatasetError(f"{name} holds more than {MOST_BYTES:,} bytes.", fix="It was not used.")
            sums[base] = _copy(stream, folder / base, size)
            missing.discard(plain)
    except _DAMAGE as error:
        raise DatasetError(f"{name} is damaged.", fix="Download it again.") from error
    if missing:
        raise DatasetError(f"{name} does not hold {min(missing)}.", fix="Download it again.")
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
