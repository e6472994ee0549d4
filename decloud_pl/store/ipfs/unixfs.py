"""The streaming importer that turns a file into a UnixFS DAG and computes its CID.

The layout is Kubo's balanced DAG (https://github.com/ipfs/specs/blob/main/UNIXFS.md): leaves of a fixed size,
nodes of a fixed width. In memory, the importer keeps one chunk of the file, and a list of links for each level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from decloud_pl.store.ipfs.cid import DAG_PB, DEFAULT_PROFILE, PROFILES, RAW, Cid, Profile

_READ_SIZE = 1 << 20

BlockSink = Callable[[Cid, "bytes | memoryview"], None]


@dataclass(frozen=True, slots=True)
class _Link:
    """A link to a child: its CID, the size of its DAG in bytes, and how many bytes of the file the DAG contains."""

    cid: Cid
    dag_size: int
    file_size: int


class Importer:
    """Computes the CID of a file: pass its bytes to `update`, then call `finish`.

    ``sink`` is called with the CID and the bytes of each block. It gets the leaves before the nodes above them.
    """

    def __init__(self, profile: Profile, sink: BlockSink | None = None) -> None:
        self._profile = profile
        self._sink = sink
        self._buffer = bytearray()
        self._levels: list[list[_Link]] = [[]]

    def update(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data).cast("B")
        size = self._profile.chunk_size
        position = 0
        if self._buffer:
            position = min(size - len(self._buffer), len(view))
            self._buffer += view[:position]
            if len(self._buffer) == size:
                self._leaf(bytes(self._buffer))
                self._buffer.clear()
        while len(view) - position >= size:
            self._leaf(view[position : position + size])
            position += size
        self._buffer += view[position:]

    def finish(self) -> Cid:
        """Return the CID of the file, which is the CID of its root block. An empty file has one empty leaf."""
        if self._buffer or not self._levels[0]:
            self._leaf(bytes(self._buffer))
        level = 0
        while True:
            links = self._levels[level]
            if level == len(self._levels) - 1 and len(links) == 1:
                return links[0].cid
            self._push(level + 1, self._close(level))
            level += 1

    def _leaf(self, chunk: bytes | memoryview) -> None:
        size = len(chunk)
        if self._profile.raw_leaves:
            self._push(0, _Link(self._emit(RAW, chunk), size, size))
        else:
            block = _wrapped_leaf(chunk)
            self._push(0, _Link(self._emit(DAG_PB, block), len(block), size))

    def _push(self, level: int, link: _Link) -> None:
        if level == len(self._levels):
            self._levels.append([])
        if len(self._levels[level]) == self._profile.width:
            self._push(level + 1, self._close(level))
        self._levels[level].append(link)

    def _close(self, level: int) -> _Link:
        links, self._levels[level] = self._levels[level], []
        block = _node(links)
        return _Link(
            self._emit(DAG_PB, block),
            len(block) + sum(link.dag_size for link in links),
            sum(link.file_size for link in links),
        )

    def _emit(self, codec: int, block: bytes | memoryview) -> Cid:
        # CID version 0 cannot describe raw blocks.
        cid = Cid.of_block(1 if codec == RAW else self._profile.cid_version, codec, block)
        if self._sink is not None:
            self._sink(cid, block)
        return cid


def cid_of_file(path: Path, profile: str = DEFAULT_PROFILE, sink: BlockSink | None = None) -> Cid:
    """Return the CID that a file on disk gets with a profile, one of the keys of `PROFILES`."""
    importer = Importer(PROFILES[profile], sink)
    with path.open("rb") as file:
        for part in _parts(file):
            importer.update(part)
    return importer.finish()


def profile_of(path: Path, cid: Cid) -> str | None:
    """Return the name of the profile under which a file has this CID; None if no profile matches."""
    for name, profile in PROFILES.items():
        if profile.cid_version == cid.version or cid.codec == RAW:
            found = cid_of_file(path, name)
            if (found.codec, found.digest) == (cid.codec, cid.digest):
                return name
    return None


def _parts(file: BinaryIO) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(_READ_SIZE))
    # `readinto` reuses one buffer. A new bytes object per read would cost a tenth of the time for hashing.
    while count := file.readinto(buffer):  # type: ignore[attr-defined]  # every file opened "rb" has it
        yield buffer[:count]


def uvarint(value: int) -> bytes:
    """Encode an unsigned LEB128 integer (https://github.com/multiformats/unsigned-varint)."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _wrapped_leaf(chunk: bytes | memoryview) -> bytes:
    size = len(chunk)
    head = b"\x08\x02" + (b"\x12" + uvarint(size) if size else b"")
    body = b"".join((head, chunk, b"\x18", uvarint(size)))
    return b"".join((b"\x0a", uvarint(len(body)), body))


def _node(links: list[_Link]) -> bytes:
    parts: list[bytes] = []
    for link in links:
        name = bytes(link.cid)
        body = b"\x0a" + uvarint(len(name)) + name + b"\x12\x00\x18" + uvarint(link.dag_size)
        parts += (b"\x12", uvarint(len(body)), body)
    sizes = b"".join(b"\x20" + uvarint(link.file_size) for link in links)
    data = b"\x08\x02\x18" + uvarint(sum(link.file_size for link in links)) + sizes
    parts += (b"\x0a", uvarint(len(data)), data)
    return b"".join(parts)
