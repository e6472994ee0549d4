"""Unsigned LEB128 integers (https://github.com/multiformats/unsigned-varint)."""

from __future__ import annotations

from decloud_pl.errors import IntegrityError

_MAX_SHIFT = 56


def uvarint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_uvarint(data: bytes | memoryview, position: int) -> tuple[int, int]:
    """The integer at ``position`` and the position after it.

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
