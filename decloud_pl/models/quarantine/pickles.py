"""Check a pickle before torch reads it: it may contain only what `torch.save` writes for a dictionary of tensors.

torch's ``weights_only`` reader accepts more: a ``bytearray`` of any size, or tens of millions of opcodes that cost
processor time and produce no data. The names of opcodes are those of `pickletools`.
"""

from __future__ import annotations

import pickletools

from decloud_pl.models.package import MAX_TENSORS

MAX_BYTES = 16 << 20
"""Enough for `MAX_TENSORS` names of 256 characters and what `torch.save` writes for each tensor."""
_MOST_INSTRUCTIONS = 64 * MAX_TENSORS  # `torch.save` writes 30 to 50 for each storage
_INSTRUCTIONS = frozenset(
    """
    APPEND APPENDS BINFLOAT BINGET BININT BININT1 BININT2 BINPERSID BINPUT BINUNICODE BUILD EMPTY_DICT EMPTY_LIST
    EMPTY_TUPLE GLOBAL LONG1 LONG_BINGET LONG_BINPUT MARK NEWFALSE NEWTRUE NONE PROTO REDUCE SETITEM SETITEMS STOP
    TUPLE TUPLE1 TUPLE2 TUPLE3
    """.split()  # noqa: SIM905 - a literal would need one line per name
)
_STORAGES = ("BFloat16", "Bool", "Byte", "Char", "Double", "Float", "Half", "Int", "Long", "Short")
_GLOBALS = frozenset(
    {
        "collections OrderedDict",
        "torch Size",
        "torch._utils _rebuild_parameter",
        "torch._utils _rebuild_sparse_tensor",
        "torch._utils _rebuild_tensor_v2",
        "torch.serialization _get_layout",
        *(f"torch {name}Storage" for name in _STORAGES),
    }
)


def holds_tensors_only(data: bytes) -> bool:
    """Return whether a pickle holds only what `torch.save` writes for a dictionary of tensors."""
    if len(data) > MAX_BYTES:
        return False
    try:
        for number, (instruction, argument, _) in enumerate(pickletools.genops(data)):
            if number >= _MOST_INSTRUCTIONS or instruction.name not in _INSTRUCTIONS:
                return False
            if instruction.name == "GLOBAL" and argument not in _GLOBALS:
                return False
    except ValueError:  # an opcode's argument cannot be decoded
        return False
    return True
