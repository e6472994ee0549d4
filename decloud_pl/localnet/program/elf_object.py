"""Read the relocatable objects that clang writes for the BPF target (ELF-64, little-endian)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from decloud_pl.errors import LocalnetError

_ET_REL = 1
_EM_BPF = 247
_SHT_SYMTAB = 2
_SHT_NOBITS = 8
_SHT_RELA = 4
_SHT_REL = 9
_HEADER_SIZE = 64
_SECTION_SIZE = 64
_SYMBOL_SIZE = 24


@dataclass(frozen=True, slots=True)
class Section:
    """One section. ``flags`` holds ELF's ``SHF_*`` bits."""

    name: str
    flags: int
    alignment: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Symbol:
    """One symbol. ``section`` is a section index, 0 for an undefined symbol. ``value`` is an offset in the section."""

    name: str
    is_global: bool
    section: int
    value: int


@dataclass(frozen=True, slots=True)
class Relocation:
    """A reference to ``symbol`` at byte ``offset`` of ``section``. ``kind`` is one of ELF's ``R_BPF_*`` types."""

    section: int
    offset: int
    kind: int
    symbol: Symbol


@dataclass(frozen=True, slots=True)
class ElfObject:
    """The parts of an object file that the linker needs. ``sections`` is in the order of the file's section table."""

    name: str
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]
    relocations: tuple[Relocation, ...]


def _text_at(data: bytes, offset: int) -> str:
    return data[offset : data.index(b"\0", offset)].decode("ascii")


def read_object(name: str, data: bytes) -> ElfObject:
    """Read one object file. ``name`` is used in error messages.

    Raises:
        LocalnetError: the file is not a BPF object, is damaged, or has relocations with explicit addends.
    """
    if data[:6] != b"\x7fELF\x02\x01" or len(data) < _HEADER_SIZE:
        raise LocalnetError(f"{name} is not a 64-bit little-endian ELF file.", fix="Compile it with clang.")
    if struct.unpack_from("<HH", data, 16) != (_ET_REL, _EM_BPF):
        raise LocalnetError(f"{name} is not a BPF object file.", fix="Compile it with clang -target bpf -c.")
    try:
        return _read(name, data)
    except (struct.error, ValueError, IndexError) as error:
        raise LocalnetError(f"{name} cannot be read as an object file: {error}.", fix="Compile it again.") from error


def _read(name: str, data: bytes) -> ElfObject:
    (table,) = struct.unpack_from("<Q", data, 40)
    count, names_index = struct.unpack_from("<HH", data, 60)
    # name, type, flags, address, offset, size, link, info, alignment, entry size
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, table + _SECTION_SIZE * i) for i in range(count)]
    names_offset = headers[names_index][4]
    sections = tuple(
        Section(
            name=_text_at(data, names_offset + header[0]),
            flags=header[2],
            alignment=max(header[8], 1),
            data=bytes(header[5]) if header[1] == _SHT_NOBITS else data[header[4] : header[4] + header[5]],
        )
        for header in headers
    )
    symbols: list[Symbol] = []
    for header in headers:
        if header[1] == _SHT_SYMTAB:
            symbols = list(_symbols(data, header[4], header[5], headers[header[6]][4]))
    relocations = []
    for header in headers:
        if header[1] == _SHT_RELA:
            raise ValueError("it has relocations with explicit addends")
        if header[1] == _SHT_REL:
            for entry in range(header[4], header[4] + header[5], 16):
                offset, info = struct.unpack_from("<QQ", data, entry)
                relocations.append(Relocation(header[7], offset, info & 0xFFFFFFFF, symbols[info >> 32]))
    return ElfObject(name, sections, tuple(symbols), tuple(relocations))


def _symbols(data: bytes, offset: int, size: int, names_offset: int) -> list[Symbol]:
    symbols = []
    for entry in range(offset, offset + size, _SYMBOL_SIZE):
        name, info, _, section, value, _ = struct.unpack_from("<IBBHQQ", data, entry)
        symbols.append(Symbol(_text_at(data, names_offset + name), info >> 4 != 0, section, value))
    return symbols
