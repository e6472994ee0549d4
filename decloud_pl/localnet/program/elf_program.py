"""Write the ELF file that Solana's loader reads: code, read-only data and the list of syscalls."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

_HEADER_SIZE = 64
_SEGMENT_SIZE = 56
_SEGMENTS = 3
TEXT_OFFSET = _HEADER_SIZE + _SEGMENTS * _SEGMENT_SIZE
"""The offset of the code in the file. The read-only data follows the code directly."""

_ET_DYN = 3
_EM_BPF = 247
_R_BPF_64_32 = 10
_SHT_PROGBITS, _SHT_STRTAB, _SHT_DYNAMIC, _SHT_REL, _SHT_DYNSYM = 1, 3, 6, 9, 11
_DT_STRTAB, _DT_SYMTAB, _DT_STRSZ, _DT_SYMENT = 5, 6, 10, 11
_DT_REL, _DT_RELSZ, _DT_RELENT = 17, 18, 19


@dataclass(frozen=True, slots=True)
class SyscallUse:
    """A call of the syscall ``name``. The call instruction is at byte ``offset`` of the code."""

    offset: int
    name: str


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    kind: int
    flags: int
    data: bytes
    link: str = ""
    info: int = 0
    entry_size: int = 0


def write_program(text: bytes, rodata: bytes, syscalls: Sequence[SyscallUse], *, entry_offset: int) -> bytes:
    """Return the bytes of the program file.

    Args:
        text: the code, already relocated. Its length must be a multiple of eight.
        rodata: the read-only data. Its length must be a multiple of eight.
        syscalls: the calls for which the loader must insert the syscall.
        entry_offset: the offset of the entry function in the code, in bytes.
    """
    names = sorted({use.name for use in syscalls})
    symbols, strings = bytes(24), b"\0"
    for name in names:
        # An undefined global symbol: info 0x10, section 0.
        symbols += struct.pack("<IBBHQQ", len(strings), 0x10, 0, 0, 0, 0)
        strings += name.encode() + b"\0"
    strings += bytes(-len(strings) % 8)
    relocations = b"".join(
        struct.pack("<QQ", TEXT_OFFSET + use.offset, (names.index(use.name) + 1) << 32 | _R_BPF_64_32)
        for use in syscalls
    )
    symbols_offset = TEXT_OFFSET + len(text) + len(rodata)
    strings_offset = symbols_offset + len(symbols)
    relocations_offset = strings_offset + len(strings)
    dynamic_offset = relocations_offset + len(relocations)
    entries = {
        _DT_STRTAB: strings_offset,
        _DT_SYMTAB: symbols_offset,
        _DT_STRSZ: len(strings),
        _DT_SYMENT: 24,
    }
    if relocations:
        entries |= {_DT_REL: relocations_offset, _DT_RELSZ: len(relocations), _DT_RELENT: 16}
    dynamic = b"".join(struct.pack("<QQ", tag, value) for tag, value in entries.items()) + bytes(16)
    every = (
        _Section(".text", _SHT_PROGBITS, 6, text),
        _Section(".rodata", _SHT_PROGBITS, 2, rodata),
        _Section(".dynsym", _SHT_DYNSYM, 2, symbols, link=".dynstr", info=1, entry_size=24),
        _Section(".dynstr", _SHT_STRTAB, 2, strings),
        _Section(".rel.dyn", _SHT_REL, 2, relocations, link=".dynsym", entry_size=16),
        _Section(".dynamic", _SHT_DYNAMIC, 3, dynamic, link=".dynstr", entry_size=16),
    )
    sections = [section for section in every if section.data]  # the loader rejects empty sections
    body, headers = _section_table(sections)
    table_offset = TEXT_OFFSET + len(body)
    loaded = len(text) + len(rodata)
    segments = (
        _segment(1, 5, TEXT_OFFSET, loaded)
        + _segment(1, 4, symbols_offset, dynamic_offset - symbols_offset)
        + _segment(2, 6, dynamic_offset, len(dynamic))
    )
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01" + bytes(9),
        _ET_DYN,
        _EM_BPF,
        1,
        TEXT_OFFSET + entry_offset,
        _HEADER_SIZE,
        table_offset,
        0,  # flags: sBPF version 0
        _HEADER_SIZE,
        _SEGMENT_SIZE,
        _SEGMENTS,
        64,
        len(sections) + 2,
        len(sections) + 1,
    )
    return header + segments + body + headers


def _segment(kind: int, flags: int, offset: int, size: int) -> bytes:
    return struct.pack("<IIQQQQQQ", kind, flags, offset, offset, offset, size, size, 8)


def _section_table(sections: Sequence[_Section]) -> tuple[bytes, bytes]:
    """Return the concatenated data of the sections, and the table of the section headers.

    Both include a final section with the section names. The table starts with the null header.
    """
    index = {section.name: number for number, section in enumerate(sections, start=1)}
    names = b"\0"
    body = b""
    headers = bytes(64)

    def header(section: _Section, *, address: int, offset: int) -> bytes:
        return struct.pack(
            "<IIQQQQIIQQ",
            names.index(b"\0" + section.name.encode() + b"\0") + 1,
            section.kind,
            section.flags,
            address,
            offset,
            len(section.data),
            index.get(section.link, 0),
            section.info,
            8 if address else 1,
            section.entry_size,
        )

    for section in sections:
        names += section.name.encode() + b"\0"
        offset = TEXT_OFFSET + len(body)
        headers += header(section, address=offset, offset=offset)
        body += section.data
    names += b".shstrtab\0"
    offset = TEXT_OFFSET + len(body)
    headers += header(_Section(".shstrtab", _SHT_STRTAB, 0, names), address=0, offset=offset)
    body += names
    return body + bytes(-len(body) % 8), headers
