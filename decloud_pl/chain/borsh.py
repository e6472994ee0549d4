"""The part of Borsh that the program's accounts, arguments and events use.

Little-endian integers, ``string`` = u32 byte length + UTF-8, ``vec`` = u32 count + items, ``pubkey`` =
32 bytes, ``bool`` and a field-less enum = 1 byte, no padding (https://borsh.io).
"""

from __future__ import annotations

import struct

from solders.pubkey import Pubkey

from decloud_pl.errors import DecodeError
from decloud_pl.legible import legible


def undecodable(message: str) -> DecodeError:
    """Return the error for bytes that do not match the layout of the program's assumed revision."""
    return DecodeError(
        message,
        fix="The program on the chain may have a newer revision. Set network.dialect=auto, or update decloud_pl.",
    )


class BorshReader:
    """Reads values from ``data`` in order. Raises `DecodeError` if a value is cut off or out of range."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._offset = 0
        self._what = what

    def take(self, count: int) -> bytes:
        end = self._offset + count
        if end > len(self._data):
            raise undecodable(f"{self._what} ends after {len(self._data)} bytes, but needs at least {end}.")
        taken = self._data[self._offset : end]
        self._offset = end
        return taken

    def u8(self) -> int:
        return self.take(1)[0]

    def u16(self) -> int:
        return int.from_bytes(self.take(2), "little")

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def u64(self) -> int:
        return int.from_bytes(self.take(8), "little")

    def i64(self) -> int:
        return int.from_bytes(self.take(8), "little", signed=True)

    def bool(self) -> bool:
        value = self.u8()
        if value > 1:
            raise undecodable(f"{self._what} has {value} instead of a boolean (0 or 1).")
        return bool(value)

    def pubkey(self) -> Pubkey:
        return Pubkey.from_bytes(self.take(32))

    def string(self) -> str:
        """Read a text and pass it through `legible`, because anybody may have written it.

        `legible` leaves CIDs and the names of data sets unchanged.
        """
        try:
            return legible(self.take(self.u32()).decode("utf-8"))
        except UnicodeDecodeError as error:
            raise undecodable(f"{self._what} has a text that is not UTF-8.") from error


def u8(value: int) -> bytes:
    return struct.pack("<B", value)


def u16(value: int) -> bytes:
    return struct.pack("<H", value)


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def u64(value: int) -> bytes:
    return struct.pack("<Q", value)


def i64(value: int) -> bytes:
    return struct.pack("<q", value)


def string(value: str) -> bytes:
    encoded = value.encode("utf-8")
    return u32(len(encoded)) + encoded
