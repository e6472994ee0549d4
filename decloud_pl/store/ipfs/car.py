"""Write CAR v1 archives, and read them while verifying every block (https://ipld.io/specs/transport/car/carv1/)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from decloud_pl.store.ipfs.cid import Cid, malformed
from decloud_pl.store.ipfs.dag import read_file
from decloud_pl.store.ipfs.unixfs import uvarint

CONTENT_TYPE = "application/vnd.ipld.car"
MAX_BLOCK = 4 << 20
_MAX_HEADER = 4096
_CID_ROOM = 64


class Readable(Protocol):
    """A stream of bytes from which an archive is read."""

    def read(self, size: int, /) -> bytes: ...


def car_header(root: Cid) -> bytes:
    """Return the header: DAG-CBOR of ``{"roots": [root], "version": 1}``."""
    name = b"\x00" + bytes(root)
    body = b"\xa2\x65roots\x81\xd8\x2a\x58" + bytes((len(name),)) + name + b"\x67version\x01"
    return uvarint(len(body)) + body


def car_section(cid: Cid, block: bytes | memoryview) -> bytes:
    """Return one section of an archive: length, CID and block."""
    name = bytes(cid)
    return b"".join((uvarint(len(name) + len(block)), name, block))


def file_in_car(source: Readable, root: Cid) -> Iterator[bytes]:
    """Yield the bytes of the file ``root`` from an archive. Each block is verified before its bytes are yielded.

    The archive must have the blocks in depth-first order. A block that occurs several times in the file must be there
    each time. Only one block is in memory at a time. The root that the header names is ignored.

    Raises:
        IntegrityError: the archive is truncated or malformed, or a block is out of order or does not match its CID.
    """
    _skip_header(source)

    def block_of(wanted: Cid) -> bytes:
        length = _length(source)
        if length is None:
            raise malformed("The archive ends before the file does.")
        if length > MAX_BLOCK + _CID_ROOM:
            raise malformed(f"The archive has a block that exceeds the limit of {MAX_BLOCK >> 20} MiB.")
        section = _exactly(source, length)
        cid, start = Cid.from_bytes(section)
        if (cid.codec, cid.digest) != (wanted.codec, wanted.digest):
            raise malformed("The archive's blocks are not in depth-first order.")
        return section[start:]

    return read_file(root, block_of)


def _skip_header(source: Readable) -> None:
    length = _length(source)
    if length is None or not 0 < length <= _MAX_HEADER:
        raise malformed("The archive has no valid header.")
    if b"\x67version\x01" not in _exactly(source, length):
        raise malformed("The archive is not a CAR archive of version 1.")


def _length(source: Readable) -> int | None:
    value = shift = 0
    while True:
        byte = source.read(1)
        if not byte:
            if shift:
                raise malformed("The archive ends within a length field.")
            return None
        value |= (byte[0] & 0x7F) << shift
        shift += 7
        if not byte[0] & 0x80:
            return value
        if shift > 56:
            raise malformed("The archive has a length field that is too long.")


def _exactly(source: Readable, count: int) -> bytes:
    parts: list[bytes] = []
    while count:
        part = source.read(count)
        if not part:
            raise malformed("The archive ends within a block.")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


class ChunkReader:
    """A `Readable` that reads the chunks of an HTTP response.

    ``on_bytes`` is called with the length of each chunk. It may raise an exception to stop the download.
    """

    def __init__(self, chunks: Iterator[bytes], on_bytes: Callable[[int], None]) -> None:
        self._chunks = chunks
        self._on_bytes = on_bytes
        self._buffer = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        while not self._buffer:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._on_bytes(len(chunk))
            self._buffer = memoryview(chunk)
        part, self._buffer = self._buffer[:size], self._buffer[size:]
        return bytes(part)
