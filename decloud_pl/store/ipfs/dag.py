"""The nodes of UnixFS DAGs, and whole files from their blocks (https://github.com/ipfs/specs/blob/main/UNIXFS.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from decloud_pl.errors import IntegrityError
from decloud_pl.store.ipfs.cid import RAW, Cid

_DEEPEST = 32
_MOST_LINKS = 200_000  # that wait on all levels together; Kubo makes nodes of 174 or 1,024
_MAX_SHIFT = 56
_FILE_TYPES = (0, 2)
"""UnixFS types Raw and File."""


@dataclass(frozen=True, slots=True)
class FileNode:
    """A decoded dag-pb node of a file: bytes of its own, then its children with the file bytes under each."""

    inline: bytes
    children: tuple[tuple[Cid, int], ...]


def decode_node(block: bytes) -> FileNode:
    """Decodes a dag-pb block of a UnixFS file.

    Raises:
        IntegrityError: not such a block, for example a directory.
    """
    links: list[Cid] = []
    data = b""
    for field, value in _protobuf(block):
        if field == 2 and isinstance(value, bytes):
            names = [inner for key, inner in _protobuf(value) if key == 1 and isinstance(inner, bytes)]
            if len(names) != 1:
                raise IntegrityError("A block has a link without a CID.")
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
        raise IntegrityError("The CID names something else than a file.", fix="A plain file is expected.")
    if len(sizes) != len(links):
        raise IntegrityError("A block names other sizes than children.")
    return FileNode(inline, tuple(zip(links, sizes, strict=True)))


def _uvarint(data: bytes | memoryview, position: int) -> tuple[int, int]:
    """The unsigned LEB128 integer at ``position`` and the position after it.

    Raises:
        IntegrityError: data that ends within the integer, or one of more than 63 bits.
    """
    value = shift = 0
    while True:
        if shift > _MAX_SHIFT:
            raise IntegrityError("A length field is too long.")
        if position >= len(data):
            raise IntegrityError("Data ends within a length field.")
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
                raise IntegrityError("A block ends within a field.")
            yield key >> 3, data[position : position + value]
            position += value
        else:
            raise IntegrityError("A block has a field of an unknown kind.")


def read_file(root: Cid, block_of: Callable[[Cid], bytes]) -> Iterator[bytes]:
    """The bytes of a file, depth first, each block checked against its CID before a byte of it is yielded.

    ``block_of`` delivers blocks, in the order they are asked for. Memory is a few blocks and 200,000 links.

    Raises:
        IntegrityError: a block that does not match, or a DAG that contradicts itself.
    """
    return _walk(root, None, block_of, 0, 0)


def _walk(
    cid: Cid, expected: int | None, block_of: Callable[[Cid], bytes], depth: int, waiting: int
) -> Iterator[bytes]:
    """The bytes under one block; ``waiting`` counts the links of the blocks above it."""
    if depth > _DEEPEST:
        raise IntegrityError("The file's DAG is deeper than any real file's.")
    block = block_of(cid)
    if not cid.matches(block):
        raise IntegrityError(f"A block does not match its CID {cid}.", fix="The source is broken or lies.")
    size = 0
    if cid.codec == RAW:
        size = len(block)
        yield block
    else:
        node = decode_node(block)
        size, children = len(node.inline), node.children
        if node.inline:
            yield node.inline
        # Not held while the levels below are read.
        del block, node
        waiting += len(children)
        if waiting > _MOST_LINKS:
            raise IntegrityError("The file's DAG has more links at once than any real file's.")
        for child, child_size in children:
            yield from _walk(child, child_size, block_of, depth + 1, waiting)
            size += child_size
    if expected is not None and size != expected:
        raise IntegrityError("A block holds another number of bytes than its parent says.")
