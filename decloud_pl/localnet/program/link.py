"""Link BPF objects into a program for Solana's loader (sBPF version 0).

This linker exists because lld has no BPF target. It writes version 0 for two reasons: the deployment of a version 0
program fails if a syscall is unresolved, and ordinary tools can disassemble the program.

The loader requires (solana-sbpf, ``elf.rs``):

- The address of every section equals its file offset. The loader maps the file, up to the end of the read-only data, to
  the address 0x1_0000_0000. There is no writable data.
- A syscall is called by ``call -1`` with an ``R_BPF_64_32`` relocation against an undefined dynamic symbol.
- A function call has source register 1. Its target is relative to the next instruction.

A program that is loaded without a deployment may contain a misspelt syscall without an error. So the linker checks the
names of syscalls.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal

from decloud_pl.errors import LocalnetError
from decloud_pl.localnet.program.elf_object import ElfObject, Relocation, Symbol
from decloud_pl.localnet.program.elf_program import TEXT_OFFSET, SyscallUse, write_program
from decloud_pl.localnet.program.syscalls import SYSCALLS

_SHF_WRITE = 1
_SHF_ALLOC = 2
_SHF_EXECUTE = 4
_R_BPF_64_64 = 1
_R_BPF_64_ABS64 = 2
_R_BPF_64_32 = 10
_IMAGE_BASE = 0x1_0000_0000
_PSEUDO_CALL = 0x10
_LDDW = 0x18
_CALLX = 0x8D
_BYTE_SWAPS = (0xD4, 0xDC)
_CLASS_ALU32 = 4
_CLASS_JMP32 = 6

_Part = Literal["text", "rodata"]


@dataclass(frozen=True, slots=True)
class _Place:
    part: _Part
    offset: int

    def plus(self, offset: int) -> _Place:
        return _Place(self.part, self.offset + offset)


@dataclass(slots=True)
class _Layout:
    """The position of every loaded section of every object, and the bytes laid out so far."""

    text: bytearray = field(default_factory=bytearray)
    rodata: bytearray = field(default_factory=bytearray)
    sections: dict[tuple[int, int], _Place] = field(default_factory=dict)
    symbols: dict[str, _Place] = field(default_factory=dict)

    def address(self, place: _Place) -> int:
        start = TEXT_OFFSET if place.part == "text" else TEXT_OFFSET + len(self.text)
        return _IMAGE_BASE + start + place.offset


def link(objects: Sequence[ElfObject], *, entry: str = "entrypoint") -> bytes:
    """Link objects, in the given order, into one program that starts at the function ``entry``.

    Raises:
        LocalnetError: an object has a writable section, an unknown syscall, a missing or duplicate symbol, or code
            that sBPF does not support. The message names the object.
    """
    layout = _Layout()
    for number, item in enumerate(objects):
        _place_sections(layout, number, item)
    for part in (layout.text, layout.rodata):
        _pad(part, 8)
    for number, item in enumerate(objects):
        _define_symbols(layout, number, item)
    if entry not in layout.symbols:
        raise LocalnetError(f"No object defines the entry function {entry}.", fix=f"Define u64 {entry}(u8 *).")
    syscalls = [
        use
        for number, item in enumerate(objects)
        for relocation in item.relocations
        for use in _relocate(layout, number, item, relocation)
    ]
    return write_program(bytes(layout.text), bytes(layout.rodata), syscalls, entry_offset=layout.symbols[entry].offset)


def _pad(part: bytearray, alignment: int) -> None:
    part.extend(bytes(-len(part) % alignment))


def _place_sections(layout: _Layout, number: int, item: ElfObject) -> None:
    for index, section in enumerate(item.sections):
        if not section.flags & _SHF_ALLOC or not section.data:
            continue
        if section.flags & _SHF_WRITE:
            raise LocalnetError(
                f"{item.name} has {len(section.data)} bytes in the writable section {section.name}, "
                "but a program cannot have writable data.",
                fix="Make the variable const, without pointers in it, or keep it on the stack.",
            )
        part: _Part = "text" if section.flags & _SHF_EXECUTE else "rodata"
        if part == "text":
            _check_instructions(item, section.data)
        data = layout.text if part == "text" else layout.rodata
        _pad(data, max(section.alignment, 8))
        layout.sections[number, index] = _Place(part, len(data))
        data.extend(section.data)


def _check_instructions(item: ElfObject, code: bytes) -> None:
    at = 0
    while at < len(code):
        opcode = code[at]
        if opcode & 7 == _CLASS_JMP32 or (opcode & 7 == _CLASS_ALU32 and opcode not in _BYTE_SWAPS):
            # sBPF sign-extends some results that BPF zero-extends, so the code would load but compute wrong results.
            raise LocalnetError(
                f"{item.name} has 32-bit arithmetic at byte {at} of its code, which gives other results in sBPF.",
                fix="Compile with -mcpu=v2.",
            )
        if opcode == _CALLX:
            raise LocalnetError(
                f"{item.name} calls through a function pointer at byte {at} of its code, "
                "which this linker does not support.",
                fix="Call the function by name.",
            )
        at += 16 if opcode == _LDDW else 8


def _define_symbols(layout: _Layout, number: int, item: ElfObject) -> None:
    for symbol in item.symbols:
        place = layout.sections.get((number, symbol.section))
        if not symbol.is_global or place is None:
            continue
        if symbol.name in layout.symbols or symbol.name in SYSCALLS:
            raise LocalnetError(
                f"{item.name} defines {symbol.name}, which already exists in another object or as a syscall.",
                fix="Rename one of the two, or make it static.",
            )
        layout.symbols[symbol.name] = place.plus(symbol.value)


def _target(layout: _Layout, number: int, symbol: Symbol) -> _Place | None:
    place = layout.sections.get((number, symbol.section))
    return layout.symbols.get(symbol.name) if place is None else place.plus(symbol.value)


def _relocate(layout: _Layout, number: int, item: ElfObject, relocation: Relocation) -> Iterator[SyscallUse]:
    """Resolve one relocation in the code; if it is the call of a syscall, yield that call."""
    place = layout.sections.get((number, relocation.section))
    if place is None:
        return  # the section is not loaded, for example debug information
    symbol = relocation.symbol
    target = _target(layout, number, symbol)
    at = place.offset + relocation.offset
    if place.part != "text" or relocation.kind == _R_BPF_64_ABS64:
        raise LocalnetError(
            f"{item.name} has a pointer ({symbol.name or 'to a constant'}) in its constant data, "
            "which this linker does not support.",
            fix="Use arrays of fixed size instead of tables of pointers.",
        )
    if relocation.kind == _R_BPF_64_64:
        _relocate_address(layout, item, symbol, target, at)
    elif relocation.kind == _R_BPF_64_32:
        if target is None:
            yield _syscall(layout, item, symbol, at)
        else:
            _relocate_call(layout, target, at)
    else:
        raise LocalnetError(
            f"{item.name} has a relocation of the unknown type {relocation.kind} against {symbol.name}.",
            fix="Compile with -target bpf -mcpu=v2.",
        )


def _relocate_address(layout: _Layout, item: ElfObject, symbol: Symbol, target: _Place | None, at: int) -> None:
    if target is None:
        raise LocalnetError(
            f"{item.name} uses {symbol.name}, which no object defines.", fix="Define it or correct the name."
        )
    if target.part == "text":
        raise LocalnetError(
            f"{item.name} takes the address of the function {symbol.name}, which this linker does not support.",
            fix="Call the function by name.",
        )
        # lddw's 64-bit operand is split between two instruction slots.
    (addend,) = struct.unpack_from("<i", layout.text, at + 4)
    address = layout.address(target) + addend
    struct.pack_into("<I", layout.text, at + 4, address & 0xFFFFFFFF)
    struct.pack_into("<I", layout.text, at + 12, address >> 32)


def _relocate_call(layout: _Layout, target: _Place, at: int) -> None:
    # clang stores -1, or the target's distance from the section's start, in instructions, minus one.
    (addend,) = struct.unpack_from("<i", layout.text, at + 4)
    distance = (target.offset - at) // 8 + addend
    layout.text[at + 1] = _PSEUDO_CALL
    struct.pack_into("<i", layout.text, at + 4, distance)


def _syscall(layout: _Layout, item: ElfObject, symbol: Symbol, at: int) -> SyscallUse:
    if symbol.name not in SYSCALLS:
        near = get_close_matches(symbol.name, SYSCALLS, n=1)
        raise LocalnetError(
            f"{item.name} calls {symbol.name}, which is neither defined nor a syscall.",
            fix=f"Did you mean {near[0]}?" if near else "Define it or correct the name.",
        )
    layout.text[at + 1] = 0
    struct.pack_into("<i", layout.text, at + 4, -1)
    return SyscallUse(at, symbol.name)
