"""Decode UnixFS nodes and read files from their blocks (https://github.com/ipfs/specs/blob/main/UNIXFS.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from decloud_pl.errors import IntegrityError
from decloud_pl.store.ipfs.cid import RAW, Cid, malformed

_DEEPEST = 32
_MOST_LINKS = 200_000  # pending on all levels together; Kubo makes nodes with 174 or 1,024 links
_MAX_SHIFT = 56
_FILE_TYPES = (0, 2)
"""UnixFS types Raw and File."""


@dataclass(frozen=True, slots=True)
class FileNode:
    """A decoded dag-pb node of a file: its inline bytes, and its children as (CID, number of file bytes)."""

    inline: bytes
    children: tuple[tuple[Cid, int], ...]


def decode_node(block: bytes) -> FileNode:
    """Decode a dag-pb block of a UnixFS file.

    Raises:
        IntegrityError: the block is malformed, or belongs to something other than a file, for example a directory.
    """
    links: list[Cid] = []
    data = b""
    for field, value in _protobuf(block):
        if field == 2 and isinstance(value, bytes):
            names = [inner for key, inner in _protobuf(value) if key == 1 and isinstance(inner, bytes)]
            if len(names) != 1:
                raise malformed("A block has a link without a CID.")
            links.append(Cid.from_bytes(names[0])[0])
        elif field == 1 and isinstance(value, bytes):
            data = value
    kind: int | None = None
    inline = b""
    sizes: list[int] = []
    for field, value in _protobuf(data):
        if field == 1 and isinstance(value, int):
            kind = value
        elif field == 2 and isinstance(value, bytes):
            inline = value
        elif field == 4 and isinstance(value, int):
            sizes.append(value)
    if kind not in _FILE_TYPES:
        raise IntegrityError("The CID does not belong to a file.", fix="Use the CID of a plain file.")
    if len(sizes) != len(links):
        raise malformed("A block lists a different number of sizes than children.")
    return FileNode(inline, tuple(zip(links, sizes, strict=True)))


def _uvarint(data: bytes | memoryview, position: int) -> tuple[int, int]:
    """Return the unsigned LEB128 integer at ``position``, and the position after it.

    Raises:
        IntegrityError: the data ends within the integer, or the integer has more than 63 bits.
    """
    value = shift = 0
    while True:
        if shift > _MAX_SHIFT:
            raise malformed("A length field is too long.")
        if position >= len(data):
            raise malformed("Data ends within a length field.")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, position


def _protobuf(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    position = 0
    while position < len(data):
        key, position = _uvarint(data, position)
        wire_type = key & 7
        value, position = _uvarint(data, position)
        if wire_type == 0:
            yield key >> 3, value
        elif wire_type == 2:
            if position + value > len(data):
                raise malformed("A block ends within a field.")
            yield key >> 3, data[position : position + value]
            position += value
        else:
            raise malformed("A block has a field of an unknown kind.")


def read_file(root: Cid, block_of: Callable[[Cid], bytes]) -> Iterator[bytes]:
    """Yield the bytes of a file in order. Each block is verified against its CID before its bytes are yielded.

    ``block_of`` returns the block of a CID; it is called in depth-first order. Memory is limited to a few blocks and
    200,000 links.

    Raises:
        IntegrityError: a block does not match its CID, or the DAG is inconsistent.
    """
    return _walk(root, None, block_of, 0, 0)


def _walk(
    cid: Cid, expected: int | None, block_of: Callable[[Cid], bytes], depth: int, waiting: int
) -> Iterator[bytes]:
    """Yield the file bytes in one block and in the blocks below it.

    ``expected`` is the number of these bytes as the parent block declares it; None for the root. ``waiting`` is the
    number of links that stay in memory while this block is read: all links of the blocks above it, even those that were
    already followed.
    """
    if depth > _DEEPEST:
        raise malformed(f"The file's DAG is deeper than {_DEEPEST} levels.")
    block = block_of(cid)
    if not cid.matches(block):
        raise malformed(f"A block does not match its CID {cid}.")
    size = 0
    if cid.codec == RAW:
        size = len(block)
        yield block
    else:
        node = decode_node(block)
        size, children = len(node.inline), node.children
        if node.inline:
            yield node.inline
        # Free the block while the levels below are read.
        del block, node
        waiting += len(children)
        if waiting > _MOST_LINKS:
            raise malformed(f"The file's DAG has more than {_MOST_LINKS:,} pending links.")
        for child, child_size in children:
            yield from _walk(child, child_size, block_of, depth + 1, waiting)
            size += child_size
    if expected is not None and size != expected:
        raise malformed("A block has a different number of bytes than its parent declares.")
